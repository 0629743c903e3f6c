//! One command for a system, its operators and its lab.
//!
//! `switchback up` runs the five services of one system in one process; the nouns (`link`, `tenant`,
//! `certificate`, ...) are an operator's commands to a running system; `lab` runs two systems on one
//! machine with a relay between them; `import` brings what is elsewhere into a tenant; `demo` walks the whole workflow in a lab and accounts for every
//! acknowledged write.
//!
//! It decides nothing: every refusal, every next step that it prints is the service's own word. What
//! it promises is form: the structures in [`view`] are stable, and so are the exit codes (0 done,
//! 1 refused or failed, 2 usage).

pub mod cli;
pub mod client;
pub mod demo;
pub mod import;
pub mod lab;
pub mod output;
pub mod system;
pub mod time;
pub mod view;
