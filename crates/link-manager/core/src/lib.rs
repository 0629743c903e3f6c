//! The link protocol: a deterministic state machine that decides who may write.
