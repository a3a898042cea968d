//! What BPF programs hand over, as Rust types.
//!
//! The types and constants are generated from `bpf/wire.h` by the build script; here is only the
//! one way to read them out of bytes. What they mean is for [`crate::decode`] to say.

use std::mem::{MaybeUninit, size_of};

/// A type for which every pattern of bytes is a value.
///
/// # Safety
/// Only for `repr(C)` types made of integers, without padding.
pub unsafe trait Wire: Copy {}

/// A `T` from the start of `bytes`, of any alignment. `None`: too short.
pub fn read<T: Wire>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: both are size_of::<T>() bytes long and do not overlap; afterwards every byte of
    // `value` is written, and any bytes are a T.
    Some(unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast(), bytes.len());
        value.assume_init()
    })
}

/// The bytes of `value`.
pub fn bytes_of<T: Wire>(value: &T) -> &[u8] {
    // SAFETY: a Wire type has no padding, so each of its bytes is initialized.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

pub use generated::*;

#[expect(missing_docs, reason = "bpf/wire.h says what each is")]
mod generated {
    use super::Wire;

    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}
