//! Live cases, each in a private directory, over the file systems and kernels' reports that differ.

mod root;
