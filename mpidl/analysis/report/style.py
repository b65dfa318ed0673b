"""How a page looks: dark on light, one column on a phone, as many as fit on a desk, and whole on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --quiet: #57606a; --line: #d5dae0; --shade: #f5f7f9; --accent: #14476b }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body { margin: 0; background: #fff; color: var(--ink);
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1320px; margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .4rem; overflow-wrap: anywhere }
p { margin: .4rem 0; max-width: 75ch; overflow-wrap: anywhere }
.quiet, figcaption, nav { color: var(--quiet); font-size: .92rem }
.warning { border-left: 4px solid #b35900; background: #fff6e9; padding: .4rem .8rem; max-width: none }
nav { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem }
nav a { color: var(--accent); white-space: nowrap }
.scroll { overflow-x: auto; margin: .6rem 0 }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; white-space: nowrap }
td:not(.number) { white-space: normal; min-width: 6rem; max-width: 24rem; overflow-wrap: break-word }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; font-weight: 600 }
tbody tr + tr > * { border-top: 1px solid var(--line) }
.number { text-align: right }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: .2rem 1.6rem;
     margin: .6rem 0; font-size: .92rem }
dl div { display: flex; gap: .6rem; border-bottom: 1px solid var(--line); padding: .15rem 0; min-width: 0 }
dt { color: var(--quiet); flex: none; max-width: 55% }
dt, dd { overflow-wrap: anywhere }
dd { margin: 0 0 0 auto; text-align: right; min-width: 0 }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 500px), 1fr)); gap: 1.2rem;
            align-items: start }
figure { margin: 0; min-width: 0 }
figure .scroll { margin: 0 0 .3rem }
figure img { display: block; width: 100%; height: auto }
figure.broad img { min-width: 620px }
figure.row { grid-column: 1 / -1 }
figure.row img { min-width: 900px }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: 0 .9rem; background: #fff }
details[open] { padding-bottom: .7rem }
summary { cursor: pointer; padding: .45rem 0; overflow-wrap: anywhere }
pre { background: var(--shade); border-radius: 6px; padding: .7rem .9rem; margin: .5rem 0; overflow-x: auto;
      font: .84rem/1.45 ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace }
@media print {
  body { font-size: 10.5pt }
  main { max-width: none; padding: 0 }
  nav { display: none }
  h2, h3, summary { break-after: avoid }
  figure, tr, dl div { break-inside: avoid }
  .pictures { grid-template-columns: 1fr 1fr }
  .scroll { overflow: visible }
  figure.broad { grid-column: 1 / -1 }
  figure.broad img, figure.row img { min-width: 0 }
  table { font-size: 8.5pt }
  pre { white-space: pre-wrap; overflow-wrap: anywhere }
  details::details-content { content-visibility: visible; block-size: auto }
}
"""
