use super::*;

const ID: &str = "4c01db0b339cc5d0f9b1c6c4a4b8d5a3e1f0a9b8c7d6e5f403122130415263ff";
const OTHER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn of(path: &str) -> Option<String> {
    id(path.as_bytes()).map(|id| String::from_utf8(id.to_vec()).unwrap())
}

#[test]
fn each_engines_paths_name_their_container() {
    let paths = [
        // docker, cgroupfs and systemd drivers, v1 and v2, rootless.
        format!("/docker/{ID}"),
        format!("/system.slice/docker-{ID}.scope"),
        format!("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"),
        format!("/docker/{ID}/init.scope"),
        // A container in a container: the inner one.
        format!("/docker/{OTHER}/docker/{ID}"),
        format!("/system.slice/docker-{OTHER}.scope/kubepods/burstable/pod1/{ID}"),
        // Kubernetes with cgroupfs.
        format!("/kubepods/burstable/pod2f7b1b3e-8e4c-4f4e-9d1d-0e9c6e1c2b3a/{ID}"),
        format!("/kubepods/besteffort/podcbb1ba5d7c5e1d0c4e1f0a9b8c7d6e5f/{ID}"),
        // Kubernetes with systemd.
        format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f7b1b3e_8e4c.slice/cri-containerd-{ID}.scope"
        ),
        format!("/kubepods.slice/kubepods-pod2f7b1b3e_8e4c.slice/crio-{ID}.scope"),
        format!(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/docker-{ID}.scope"
        ),
        format!(
            "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:{ID}"
        ),
        // k3s.
        format!("/kubepods/pod2f7b1b3e/{ID}"),
        // kind: the node is a docker container itself.
        format!("/docker/{OTHER}/kubelet/kubepods/besteffort/pod1/{ID}"),
        // podman, root and rootless, with its inner cgroup.
        format!("/machine.slice/libpod-{ID}.scope"),
        format!("/machine.slice/libpod-{ID}.scope/container"),
        format!(
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{OTHER}.slice/libpod-{ID}.scope"
        ),
        format!("/libpod_parent/libpod-{ID}"),
        // containerd's own namespaces (ctr, nerdctl).
        format!("/default/{ID}"),
        format!("/system.slice/nerdctl-{OTHER}.scope/{ID}"),
        // Amazon ECS.
        format!("/ecs/0f9c0d1e2b3a/{ID}"),
        format!("/ecs/task-1/{ID}"),
    ];
    for path in paths {
        assert_eq!(of(&path).as_deref(), Some(ID), "{path}");
    }
}

#[test]
fn machines_are_named() {
    for path in [
        "/machine.slice/machine-debian.scope",
        "/machine.slice/machine-debian.scope/payload",
        "/machine.slice/systemd-nspawn@debian.service",
        "/machine.slice/systemd-nspawn@debian.service/payload/system.slice/ssh.service",
        "/lxc.payload.debian/system.slice",
        "/lxc/debian",
        "/lxc/debian/user.slice",
    ] {
        assert_eq!(of(path).as_deref(), Some("debian"), "{path}");
    }
}

#[test]
fn what_is_no_container_has_no_id() {
    let helper = format!("/machine.slice/libpod-conmon-{ID}.scope");
    let crio = format!("/kubepods.slice/crio-conmon-{ID}.scope");
    for path in [
        "",
        "/",
        "/init.scope",
        "/system.slice/ssh.service",
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/docker.service",
        "/kubepods/burstable/pod2f7b1b3e-8e4c-4f4e-9d1d-0e9c6e1c2b3a",
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        "/docker/4c01db0b339c",
        "/system.slice/docker-4C01DB0B339CC5D0F9B1C6C4A4B8D5A3E1F0A9B8C7D6E5F403122130415263FF.scope",
        &helper,
        &crio,
    ] {
        assert_eq!(of(path), None, "{path}");
    }
}
