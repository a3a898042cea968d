//! The system calls of 32-bit programs, which a 64-bit one can make, too.

// arch/x86/entry/syscalls/syscall_32.tbl.
pub const FORK: u32 = 2;
pub const EXECVE: u32 = 11;
pub const OPEN: u32 = 5;
pub const SETUID: u32 = 213;
pub const SOCKETCALL: u32 = 102;
pub const BIND: u32 = 361;
pub const CONNECT: u32 = 362;
/// Of socketcall(2).
pub const SYS_BIND: u32 = 2;

pub fn call(number: u32, arguments: [u32; 3]) -> i32 {
    let mut result = u64::from(number);
    // SAFETY: the call reads memory that the caller keeps for it, and changes these registers.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(arguments[0]) => _,
            inout("rax") result,
            in("rcx") u64::from(arguments[1]),
            in("rdx") u64::from(arguments[2]),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result as i32
}

/// A page that 32 bits reach.
pub struct Low(*mut u8);

impl Low {
    const BYTES: usize = 4096;

    pub fn new() -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, which nobody else knows of.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), Self::BYTES, protection, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self(at.cast())
    }

    pub fn put<T>(&self, offset: usize, value: T) -> u32 {
        assert!(offset + size_of::<T>() <= Self::BYTES);
        // SAFETY: within the page.
        unsafe {
            let at = self.0.add(offset);
            at.cast::<T>().write_unaligned(value);
            u32::try_from(at as usize).unwrap()
        }
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { libc::munmap(self.0.cast(), Self::BYTES) };
    }
}
