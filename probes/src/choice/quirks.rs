//! Hosts on which BPF is known to do harm, and where that is known from.
//!
//! Versions are otherwise never asked for, only what is there. This is the exception: a kernel that
//! hangs cannot be asked.

use std::path::Path;

/// What runs on the host, of what a quirk may depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `ID` of os-release(5), such as `ol`.
    pub os_id: String,
    /// `VERSION_ID`, such as `7.9`.
    pub os_version: String,
    /// SAP software is installed.
    pub sap: bool,
    /// Kernels are patched live by Ksplice.
    pub ksplice: bool,
}

/// Where each of SAP's and Ksplice's installers puts what it installs.
const SAP_PATHS: [&str; 2] = ["/usr/sap", "/hana/shared"];
const KSPLICE_PATHS: [&str; 3] = ["/usr/sbin/uptrack-upgrade", "/usr/bin/ksplice", "/etc/uptrack"];

impl Surroundings {
    /// Looks around.
    pub fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let release = text("/etc/os-release");
        let value = |name: &str| os_release(&release, name).unwrap_or_default();
        let any = |paths: &[&str]| paths.iter().any(|path| Path::new(path).exists());
        let patched = text("/proc/modules").lines().any(|line| line.starts_with("ksplice_"));
        Self {
            os_id: value("ID"),
            os_version: value("VERSION_ID"),
            sap: any(&SAP_PATHS),
            ksplice: patched || any(&KSPLICE_PATHS),
        }
    }
}

fn os_release(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.map(|value| value.trim_matches(['"', '\'']).to_owned())
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Quirk {
    /// What happens.
    pub what: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// What helps.
    pub remedy: &'static str,
    kernel: Kernel,
    and: And,
}

/// Which kernel releases (`uname -r`).
#[derive(Debug, PartialEq, Eq)]
enum Kernel {
    /// Those that begin so, up to the architecture.
    Exactly(&'static [&'static str]),
    /// Those that begin so and have this in them.
    Family(&'static str, &'static str),
    /// Any.
    Any,
}

/// What else must be there.
#[derive(Debug, PartialEq, Eq)]
enum And {
    Nothing,
    Sap,
    Ksplice { os_id: &'static str, os_version: &'static str },
}

const DEFENDER: &str = "learn.microsoft.com/defender-endpoint/linux-support-ebpf, known issues";

/// The table.
pub const QUIRKS: &[Quirk] = &[
    Quirk {
        what: "this kernel hangs or panics when BPF programs are attached",
        source: DEFENDER,
        remedy: "use an earlier or later UEK kernel",
        kernel: Kernel::Exactly(&["5.15.0-0.30.20.el8uek", "5.15.0-0.30.20.1.el8uek"]),
        and: And::Nothing,
    },
    Quirk {
        what: "the kernel of RHEL 8.1 may panic with BPF where SAP runs",
        source: DEFENDER,
        remedy: "update to RHEL 8.2 or later",
        kernel: Kernel::Family("4.18.0-147.", "el8"),
        and: And::Sap,
    },
    Quirk {
        what: "Oracle Linux 7.9 hangs when Ksplice patches it while BPF programs are attached",
        source: DEFENDER,
        remedy: "stop us while Ksplice patches",
        kernel: Kernel::Any,
        and: And::Ksplice { os_id: "ol", os_version: "7.9" },
    },
];

/// The first line that fits.
pub fn find(release: &str, surroundings: &Surroundings) -> Option<&'static Quirk> {
    QUIRKS.iter().find(|quirk| {
        let kernel = match quirk.kernel {
            Kernel::Exactly(names) => names.iter().any(|name| {
                let rest = release.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }),
            Kernel::Family(start, part) => release.starts_with(start) && release.contains(part),
            Kernel::Any => true,
        };
        let there = match quirk.and {
            And::Nothing => true,
            And::Sap => surroundings.sap,
            And::Ksplice { os_id, os_version } => {
                let system = (surroundings.os_id.as_str(), surroundings.os_version.as_str());
                surroundings.ksplice && system == (os_id, os_version)
            }
        };
        kernel && there
    })
}
