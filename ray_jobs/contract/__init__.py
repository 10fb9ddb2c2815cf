"""The suite, the spec of a run and the JSON files of the stages: the models that both planes share."""
