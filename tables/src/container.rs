//! The container a process is in, read off the path of its cgroup.
//!
//! Owns the naming habits of container engines; it reads no file. `None` where the path names no
//! container, which is not the same as "no container": an engine may use a path of its own.

#[cfg(test)]
mod tests;

/// Length of the ids of docker, containerd, cri-o and podman.
const ID_LEN: usize = 64;

/// Prefixes of systemd scopes that hold one container.
const SCOPES: [&[u8]; 5] = [b"docker-", b"cri-containerd-", b"crio-", b"libpod-", b"cri-o-"];

/// Prefixes of scopes for an engine's helpers, not for the container.
const HELPERS: [&[u8]; 3] = [b"crio-conmon-", b"libpod-conmon-", b"conmon-"];

/// The id of the innermost container in a cgroup path: 64 hexadecimal digits, or a machine's name
/// for systemd-nspawn, or a container's for LXC.
pub fn id(cgroup: &[u8]) -> Option<&[u8]> {
    let mut previous: &[u8] = b"";
    let mut found = None;
    for part in cgroup.split(|&byte| byte == b'/') {
        if let Some(id) = of_part(previous, part) {
            found = Some(id);
        }
        previous = part;
    }
    found
}

fn of_part<'a>(previous: &[u8], part: &'a [u8]) -> Option<&'a [u8]> {
    let stem = part.strip_suffix(b".scope").unwrap_or(part);
    if HELPERS.iter().any(|helper| stem.starts_with(helper)) {
        return None;
    }
    for prefix in SCOPES {
        if let Some(id) = stem.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some(id);
        }
    }
    // containerd's "POD-UNIT:cri-containerd:ID", one part on cgroup v1 with the systemd driver.
    if let Some(id) = stem.rsplit(|&byte| byte == b':').next().filter(|id| is_id(id)) {
        return Some(id);
    }
    if let Some(name) = stem.strip_prefix(b"machine-")
        && part.ends_with(b".scope")
        && !name.starts_with(b"qemu")
    {
        return (!name.is_empty()).then_some(name);
    }
    if let Some(name) = part.strip_prefix(b"systemd-nspawn@")
        && let Some(name) = name.strip_suffix(b".service")
    {
        return (!name.is_empty()).then_some(name);
    }
    if let Some(name) = part.strip_prefix(b"lxc.payload.") {
        return (!name.is_empty()).then_some(name);
    }
    // LXC on cgroup v1: "/lxc/NAME".
    if previous == b"lxc" && !part.is_empty() {
        return Some(part);
    }
    None
}

fn is_id(text: &[u8]) -> bool {
    text.len() == ID_LEN && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
