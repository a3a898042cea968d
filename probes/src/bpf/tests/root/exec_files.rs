//! Which file was executed: scripts, deleted files, files without a name.

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::{Scratch, Watch, fork, joined, run};

/// Whether and when a file was made, as statx(2) has it.
fn born(metadata: &fs::Metadata) -> Option<i64> {
    let since = metadata.created().ok()?.duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).ok()
}

#[test]
fn the_inode_is_the_one_that_stat_shows() {
    let scratch = Scratch::new("inode");
    let program = scratch.copy_of("/bin/true", "program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o750)).expect("chmod");
    std::os::unix::fs::chown(&program, Some(1111), Some(2222)).expect("chown");
    fs::hard_link(&program, scratch.0.join("other name")).expect("link");
    let watch = Watch::shared();
    let expected = fs::metadata(&program).expect("stat");
    let (pid, _) = run(Command::new(&program).arg0("true"));

    let (_, exec) = watch.exec(pid);
    let file = exec.file.expect("known");
    assert_eq!(file.inode, Some(expected.ino()));
    assert_eq!(file.device, Some(expected.dev()));
    assert_eq!(file.mode, Some(expected.mode()));
    assert_eq!((file.uid, file.gid), (Some(1111), Some(2222)));
    assert_eq!(file.size, Some(expected.size()));
    assert_eq!(file.nlink, Some(2));
    assert_eq!(file.mtime, Some(expected.mtime()));
    assert_eq!(file.ctime, Some(expected.ctime()));
    // Reading it to execute it may have moved it.
    assert!(file.atime >= Some(expected.atime()));
    assert_eq!(file.btime, born(&expected));
    assert_eq!(exec.fileless, Some(false));
    assert_eq!(exec.path.as_deref(), Some(program.as_os_str().as_bytes()));
}

#[test]
fn a_script_is_reported_with_its_interpreter() {
    let scratch = Scratch::new("script");
    let script = scratch.0.join("script");
    fs::write(&script, "#!/bin/sh -e\nexit 0\n").expect("write");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let watch = Watch::shared();
    let (pid, status) = run(Command::new(&script).arg("arg"));
    assert!(status.success());

    let (_, exec) = watch.exec(pid);
    let shell = fs::canonicalize("/bin/sh").expect("exists");
    assert_eq!(exec.raw_path.as_deref(), Some(script.as_os_str().as_bytes()));
    assert_eq!(exec.interpreter.as_deref(), Some(b"/bin/sh".as_slice()));
    assert_eq!(exec.path.as_deref(), Some(shell.as_os_str().as_bytes()));
    let args = joined(&[b"/bin/sh", b"-e".as_slice(), script.as_os_str().as_bytes(), b"arg"]);
    assert_eq!(exec.args.bytes.as_deref(), Some(args.as_slice()));
}

/// Executes what a descriptor stands for, with no path. Where one program is many it goes by `name`.
pub fn execveat(fd: i32, name: &CStr) -> i32 {
    let argv = [name.as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    loop {
        // SAFETY: every pointer is to NUL-ended data that outlives the call.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                fd,
                c"".as_ptr(),
                argv.as_ptr(),
                envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        // Another test forked while the file was open for writing; that passes.
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::ETXTBSY) {
            return 127;
        }
    }
}

#[test]
fn a_deleted_program_is_fileless_and_keeps_its_name() {
    let scratch = Scratch::new("deleted");
    let program = scratch.copy_of("/bin/true", "gone");
    let file = fs::File::open(&program).expect("open");
    let inode = file.metadata().expect("stat").ino();
    fs::remove_file(&program).expect("unlink");
    let watch = Watch::shared();
    let fd = file.as_raw_fd();
    let (pid, status) = fork(|| execveat(fd, c"true"));
    assert_eq!(status.code(), Some(0));

    let (_, exec) = watch.exec(pid);
    assert_eq!(exec.fileless, Some(true));
    assert_eq!(exec.path.as_deref(), Some(program.as_os_str().as_bytes()));
    assert_eq!(exec.file.and_then(|file| file.inode), Some(inode));
    assert_eq!(exec.file.and_then(|file| file.nlink), Some(0));
    assert_eq!(exec.syscall, Some("execveat"));
    assert_eq!(exec.raw_path.as_deref(), Some(format!("/dev/fd/{fd}").as_bytes()));
}

#[test]
fn a_memfd_is_fileless_and_keeps_its_name() {
    // SAFETY: the name is NUL-ended.
    let fd = unsafe { libc::memfd_create(c"in memory".as_ptr(), 0) };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: just made, and nobody else's.
    let memory = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut file = fs::File::from(memory);
    let mut program = fs::File::open("/bin/cat").expect("open");
    std::io::copy(&mut program, &mut file).expect("copy");
    let inode = file.metadata().expect("stat").ino();
    let watch = Watch::shared();
    let (pid, _) = fork(|| {
        // SAFETY: plain system calls; cat then ends at once for want of an input.
        unsafe { libc::close(0) };
        execveat(fd, c"cat")
    });

    let (_, exec) = watch.exec(pid);
    assert_eq!(exec.fileless, Some(true));
    assert_eq!(exec.path.as_deref(), Some(b"/memfd:in memory".as_slice()));
    assert_eq!(exec.file.and_then(|file| file.inode), Some(inode));
}

#[test]
fn a_file_made_by_o_tmpfile_is_fileless() {
    let scratch = Scratch::new("tmpfile");
    let mut file = {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = fs::OpenOptions::new();
        options.write(true).read(true).mode(0o700).custom_flags(libc::O_TMPFILE);
        options.open(&scratch.0).expect("O_TMPFILE")
    };
    std::io::copy(&mut fs::File::open("/bin/true").expect("open"), &mut file).expect("copy");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let program = fs::File::open(path).expect("open for reading");
    drop(file);
    let watch = Watch::shared();
    let fd = program.as_raw_fd();
    let (pid, status) = fork(|| execveat(fd, c"true"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(watch.exec(pid).1.fileless, Some(true));
}
