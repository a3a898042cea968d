//! The BPF source on a live kernel.

mod root;
