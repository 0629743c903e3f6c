//! One command for a system, its operators and its lab.
