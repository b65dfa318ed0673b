"""The torch modules that models build; imported only when one is built."""
