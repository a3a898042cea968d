//! What the end-to-end tests share: starting the program, waiting for conditions, reading rows.
