"""Training stage: shards in, a backbone out.

`train.pretrain` is the stage and `train.PretrainConfig` its settings; `recipes` holds the presets.
`checkpoint.load_backbone` is how later stages get the weights.
"""
