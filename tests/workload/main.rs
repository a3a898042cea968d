//! Small, exact things for a kernel to report: each subcommand does one of them and prints, as one
//! line of JSON, what a witness may expect to see of it.
//!
//! It owns no expectations of ours: it says what it did, in the kernel's terms.

mod file;
mod mixed;
mod process;
mod socket;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Does one thing and says what it did.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Nothing: the smallest program to execute.
    Noop,
    /// Exit with this code.
    Exit { code: u8 },
    /// Die of this signal.
    Signal { number: i32 },
    /// End the leader thread first, then exit with this code from another.
    LeaderFirst { code: u8 },
    /// Execute a program with this many arguments of a given length.
    ManyArguments {
        count: usize,
        #[arg(long, default_value_t = 1)]
        length: usize,
        program: PathBuf,
    },
    /// Execute a program with arguments of spaces, quotes, a newline and bytes that are not UTF-8.
    HostileArguments { program: PathBuf },
    /// Execute a program from a thread that is not the leader.
    ExecFromThread { program: PathBuf, arguments: Vec<OsString> },
    /// Execute a copy of a program that has been deleted, through its descriptor.
    ExecDeleted { program: PathBuf, arguments: Vec<OsString> },
    /// Execute a copy of a program in a memfd.
    ExecMemfd { program: PathBuf, arguments: Vec<OsString> },
    /// Execute a program this many times, one after another in each of some workers.
    Burst {
        count: u32,
        #[arg(long, default_value_t = 1)]
        workers: u32,
        program: PathBuf,
        arguments: Vec<OsString>,
    },
    /// Execute this program again and again in the same process, as UnixBench's execl does.
    ExecChain { count: u32 },
    /// Start a grandchild whose parent ends at once, and wait for it.
    Orphan { program: PathBuf, arguments: Vec<OsString> },
    /// Connect to a loopback port.
    Connect {
        #[arg(long)]
        v6: bool,
        /// Whether anyone listens there.
        #[arg(long)]
        to: Peer,
        #[arg(long)]
        nonblocking: bool,
    },
    /// Bind, listen and accept one connection of our own.
    Accept {
        #[arg(long)]
        v6: bool,
    },
    /// Accept on a non-blocking listener that nobody connects to.
    AcceptNobody,
    /// Connect a UDP socket.
    ConnectUdp,
    /// Connect to a listener of our own and close, this many times.
    Connections { count: u32 },
    /// Make the cheapest system call this many times.
    Getppid { count: u32 },
    /// Open an existing file for reading and close it, this many times.
    OpenClose { path: PathBuf, count: u32 },
    /// Every file operation, in this existing directory.
    Files { directory: PathBuf },
    /// Create, write and remove files in this directory, over and over.
    Churn { directory: PathBuf, count: u32 },
    /// Executions, file churn and connections at once, each in a thread of its own.
    Mixed {
        directory: PathBuf,
        #[arg(long)]
        seconds: f64,
        /// Rest between two rounds of each; none: as fast as the machine can.
        #[arg(long, default_value_t = 0.0)]
        rest: f64,
        /// What is made: any of exec, file, socket.
        #[arg(long, value_delimiter = ',', default_value = "exec,file,socket")]
        of: Vec<mixed::Kind>,
    },
}

/// Whom a connect meets.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// A listener that accepts.
    Listener,
    /// A port on which nobody listens.
    Nobody,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().work {
        Work::Noop => return ExitCode::SUCCESS,
        Work::Exit { code } => return ExitCode::from(code),
        Work::Signal { number } => process::signal(number),
        Work::LeaderFirst { code } => process::leader_first(code),
        Work::ManyArguments { count, length, program } => {
            process::many_arguments(count, length, &program)
        }
        Work::HostileArguments { program } => process::hostile_arguments(&program),
        Work::ExecFromThread { program, arguments } => {
            process::exec_from_thread(program, arguments)
        }
        Work::ExecDeleted { program, arguments } => process::exec_deleted(&program, &arguments),
        Work::ExecMemfd { program, arguments } => process::exec_memfd(&program, &arguments),
        Work::Burst { count, workers, program, arguments } => {
            process::burst(count, workers, &program, &arguments)
        }
        Work::ExecChain { count } => process::exec_chain(count),
        Work::Orphan { program, arguments } => process::orphan(&program, &arguments),
        Work::Connect { v6, to, nonblocking } => socket::connect(v6, to, nonblocking),
        Work::Accept { v6 } => socket::accept(v6),
        Work::AcceptNobody => socket::accept_nobody(),
        Work::ConnectUdp => socket::connect_udp(),
        Work::Connections { count } => socket::connections(count),
        Work::Getppid { count } => process::getppid(count),
        Work::OpenClose { path, count } => file::open_close(&path, count),
        Work::Files { directory } => file::every_operation(&directory),
        Work::Churn { directory, count } => file::churn(&directory, count),
        Work::Mixed { directory, seconds, rest, of } => mixed::run(&directory, seconds, rest, &of),
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("workload: {error}");
            ExitCode::FAILURE
        }
    }
}
