"""Training of the controls: optimal control of the mean-field equation and of its particles."""
