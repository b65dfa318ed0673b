"""Questions asked of results: what runs reached, and what their models tell.

Of run files: `comparison` (tables), `figures` (pictures, kind by kind), `report` (all of it as a page), `compression`
(what packing lost).

Of models, as functions of a loss, rows and examples, without ranks and files: `sharpness` (Hessian, SAM, average
directions), `landscape` (lines and planes), `alignment` (of agents' gradients), `uncertainty` (agents as a sample of
models); on `objective`, a loss as a function of a row, `lanczos`, and `workers`, who share its terms.

Between both stands `subject`, a run with its network, data and kept models; `studies` ask it kind by kind, as `mpidl
analyze` does, on ranks where there are any (`ranks`), `figures.panels` draws what they found, and `gathered` brings
that of several runs together.
"""
