"""What each setting means, in a line: the help of its option, and the comment beside it in a file."""

MEANINGS = {
    "preset": "A set-up of the paper, such as paper-mnist.",
    "data.name": "Data set, or a path to .npz, .h5 or .csv.",
    "data.folder": "Where data sets are kept.",
    "data.subset": "Train on the first N rows only.",
    "data.subset_seed": "Seed by which the N rows are drawn at random instead.",
    "data.inputs": "Inputs in an .npz (key) or .h5 file (path).",
    "data.targets": "Targets in an .npz or .h5 file.",
    "data.test_inputs": "Test inputs in an .npz or .h5 file.",
    "data.test_targets": "Test targets in an .npz or .h5 file.",
    "data.target": "Target column of a .csv file; several with commas.",
    "data.task": "What targets are.",
    "data.test_fraction": "Share of the rows that becomes the test part, where the file has none.",
    "data.validation_fraction": (
        "Share of the training rows held out, by which the best weights are then chosen."
    ),
    "data.standardize_targets": (
        "Fit the targets of a regression less their mean, over their standard deviation; losses are then in "
        "units of their variance."
    ),
    "data.crop": "Train on random crops of the images, resized (RandomResizedCrop).",
    "network.blocks": "Blocks of two couplings.",
    "network.hidden": "Hidden features of a coupling.",
    "network.activation": "Activation of the couplings.",
    "network.first_block": "Activation of the first block.",
    "network.activations": "Keep activations, or rebuild them by the inverse.",
    "network.init_scale": "Standard deviation of the trained weights at the start; 0 starts at the identity.",
    "optimizer.name": "Who takes the steps.",
    "optimizer.lr": "Learning rate.",
    "optimizer.schedule": "How the rate goes with the step.",
    "optimizer.warmup": "Steps of linear rise at the start.",
    "optimizer.floor": "Share of the rate that the cosine schedule ends at.",
    "optimizer.every": "Steps between two falls of the step schedule.",
    "optimizer.gamma": "Factor of each fall of the step schedule.",
    "optimizer.weight_decay": "Decoupled weight decay.",
    "optimizer.inverse": "Generalized inverse of the Jacobian.",
    "optimizer.shares": "Shares of the blocks (block inverse).",
    "optimizer.outputs": (
        "Realize all outputs, or only their contrasts, of which there is one less (minimum norm)."
    ),
    "optimizer.solver": (
        "Factor the kernel, go without it by conjugate gradients, or what is faster by estimate (minimum "
        "norm)."
    ),
    "optimizer.memory": (
        "Bound on the kernel's memory, such as 4GB; a larger kernel is factored by tiles, on disk where "
        "they find no room (minimum norm; half of the machine's if not given)."
    ),
    "optimizer.tolerance": "Relative residual at which cg ends.",
    "optimizer.max_iterations": "Iterations after which cg gives up.",
    "optimizer.preconditioner": "What keeps the iterations of cg few.",
    "optimizer.block_samples": "Samples in a block of cg's preconditioner, at most.",
    "optimizer.directions": (
        "Strongest directions that cg's preconditioner takes as they are (none below 4,096 samples, else "
        "n/16, if not given)."
    ),
    "optimizer.damping": (
        "Damping, relative to the kernel's mean diagonal (minimum norm) or to s_1^2 of the features "
        "(block); of K-FAC, of the mean loss's curvature (0.03 if not given)."
    ),
    "optimizer.curvature": "Curvature of the loss in its outputs.",
    "optimizer.output_damping": "nu of eps = (H + nu I)^-1 (p - y), with exact curvature.",
    "optimizer.adapt_damping": "Levenberg-Marquardt: let the damping follow the gain.",
    "optimizer.damping_raised": "Factor by which Levenberg-Marquardt raises the damping after a bad step.",
    "optimizer.damping_lowered": "Divisor by which Levenberg-Marquardt lowers it after a good one.",
    "optimizer.damping_min": "Smallest damping of Levenberg-Marquardt.",
    "optimizer.damping_max": "Largest damping of Levenberg-Marquardt.",
    "optimizer.orthogonal": (
        "Make the direction's matrices orthogonal, as Muon does a gradient's (rate 0.02 if not given)."
    ),
    "optimizer.carry": "Share of the last direction carried along.",
    "optimizer.carry_decay": "Factor on the share carried, with every step.",
    "optimizer.carry_limit": (
        "What a carried direction may leave to do, relative to what is wanted; less is carried beyond."
    ),
    "optimizer.metric": (
        "Norm in which Gauss-Newton's step is smallest: of the weights, or with the features seen so far."
    ),
    "optimizer.metric_floor": "tau of the metric P + tau I, relative to P's mean diagonal.",
    "optimizer.metric_mean": "Share of the old moments in the running mean P.",
    "optimizer.metric_every": "Steps between two decompositions of P.",
    "optimizer.rtol": (
        "Singular values below rtol s_1 count as 0 (block inverse; by the precision if not given)."
    ),
    "optimizer.atol": "Singular values below it count as 0 (block inverse).",
    "optimizer.momentum": "Momentum of SGD, Muon (0.95 if not given) and K-FAC (0.9).",
    "optimizer.nesterov": "Nesterov's momentum (SGD, Muon).",
    "optimizer.beta1": "Decay of the first moment (Adam; Muon's biases).",
    "optimizer.beta2": "Decay of the second moment.",
    "optimizer.eps": "Added to the root of the second moment.",
    "optimizer.factor_every": "Steps between two factorizations of K-FAC.",
    "optimizer.factor_mean": "Share of the old factors in the running means of K-FAC.",
    "optimizer.kl_clip": "Bound on the change in function space of a step of K-FAC.",
    "optimizer.history": "Steps that L-BFGS remembers.",
    "optimizer.length_rule": (
        "Length of a step: the rate, or halved until its batch's loss falls, or as a fresh batch likes it."
    ),
    "optimizer.halvings": "Halvings of a step's length, at most.",
    "optimizer.trust_radius": "Bound on the norm of a step.",
    "optimizer.trust_change": (
        "Bound on the outputs' change by a step, to first order (root mean square over samples)."
    ),
    "optimizer.decay_to": "What the weights decay towards.",
    "optimizer.hybrid": (
        "Two optimizers in turn, blended, or each in its own couplings; or what half-batches agree on."
    ),
    "optimizer.second": "The second optimizer of a hybrid.",
    "optimizer.second_lr": "Learning rate of the second optimizer (its own default if not given).",
    "optimizer.second_share": "Share of the second optimizer in a blend.",
    "optimizer.switch_at": "Steps before the switch to the second.",
    "optimizer.patience": "Steps without progress, after which to switch.",
    "optimizer.couplings": "Couplings of the first optimizer, from 0 on, by commas.",
    "training.loss": "Loss; auto takes cross-entropy for classes.",
    "training.label_smoothing": (
        "Share of each label that goes to all classes alike, in the steps (cross-entropy)."
    ),
    "training.average": (
        "Average the weights beside training: exponentially, or over the last part of the steps."
    ),
    "training.average_decay": (
        "Weight of each set of weights relative to the one after it, in the exponential average."
    ),
    "training.average_from": "Share of all steps after which the tail's average begins.",
    "training.batch_size": "Rows in a batch (256, or all where there are fewer).",
    "training.epochs": "Passes over the training data.",
    "training.steps": "Steps; stronger than --epochs.",
    "training.seed": "Seed of everything random.",
    "training.dtype": "Precision.",
    "training.backend": "Array library.",
    "training.eval_every": "Steps between evaluations (else an epoch).",
    "training.eval_train_rows": "Training rows that an evaluation looks at.",
    "training.measure_every": (
        "Steps between measurements of loss_after, loss_other, loss_test, the gains and inverse_error; 0 "
        "measures none."
    ),
    "training.analyse_rows": (
        "Test rows on which each evaluation measures the tangent kernel, representations and weights against "
        "the start, and what the next two steps would be like (none if not given)."
    ),
    "training.analyse_probes": (
        "Random vectors that the tangent kernel of many analyse_rows is estimated by, with standard errors; "
        "0 forms it."
    ),
    "training.checkpoint_every": "Steps between checkpoints.",
}
