//! The weights of the signals, made by `tools/routing/train_upgrade.py`: do not edit.
//!
//! Source: answers of Mixtral-8x7B to 655 questions of GSM8K, from lm-sys/RouteLLM (Apache-2.0; GSM8K: MIT),
//! and the priors that the tool documents. On questions held out, mean of 20 times ten folds:
//! AUROC 0.790, APGR 0.781, expected calibration error 0.036.

use super::signals::Signal;

/// The log-odds of an answer that nothing speaks for or against.
pub(super) const BASE: f64 = -2.44;

/// Of each signal: its name, log-odds per unit, and the value in a calculation that says nothing.
pub(super) const WEIGHTS: [(&str, f64, f64); Signal::COUNT] = [
    ("HedgeFirst", 3.4000, 0.0000),
    ("RefusalFirst", 4.0000, 0.0000),
    ("Hedges", 0.1272, 0.0000),
    ("Corrections", 0.2123, 0.0000),
    ("Repetition", 3.4000, 0.0000),
    ("Unfinished", 3.0424, 0.0000),
    ("NoFullStop", 0.5931, 0.0000),
    ("Thin", 1.5000, 0.0000),
    ("WrongEquation", 2.6031, 0.0000),
    ("MoreWrongEquations", 0.1421, 0.0000),
    ("WrongResult", 3.0000, 0.0000),
    ("MeanLogprob", 1.8000, 0.0000),
    ("LowLogprob", 0.4000, 0.0000),
    ("Difficulty", 0.5000, 0.0000),
    ("Calculates", 1.4749, 0.0000),
    ("Equations", -0.7973, 1.2846),
    ("UnusedShare", 2.1061, 0.0482),
    ("Unused", 0.4607, 0.1466),
    ("UngroundedShare", 0.6820, 0.0448),
    ("FractionOfThings", 1.0000, 0.0170),
    ("DeadEnds", 0.4518, 0.1682),
    ("Percentages", -0.2894, 0.1481),
    ("LastLineIsPlain", 0.2826, 0.1358),
    ("Contrasts", 1.4588, 0.0448),
    ("QuestionWords", 0.8388, 3.8027),
    ("AnswerWords", 0.4062, 3.8165),
];
