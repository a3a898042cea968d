//! The core's tables, as far as they exist here.
//!
//! All names are known, since an extension may take none of them. Four tables answer: those about
//! osquery itself, which sessions and people look at. The core's event tables answer nothing, as
//! in an osqueryd whose events are disabled, and are attached only when they are not disabled.

use std::collections::BTreeMap;

use super::{Shared, manager};
use crate::thrift::ExtensionPluginResponse;

/// The core's event tables whose names our tables have as aliases.
pub const EVENTS: [&str; 4] =
    ["file_events", "process_events", "process_file_events", "socket_events"];

/// Core tables that are queried here.
pub(super) const ATTACHED: [&str; 8] = [
    "file_events",
    "osquery_extensions",
    "osquery_info",
    "osquery_registry",
    "osquery_schedule",
    "process_events",
    "process_file_events",
    "socket_events",
];

/// The table names of osquery 5.23 on Linux (its directory `specs`).
pub(super) const NAMES: &[&str] = &[
    "acpi_tables",
    "apparmor_events",
    "apparmor_profiles",
    "apt_sources",
    "arp_cache",
    "augeas",
    "authorized_keys",
    "azure_instance_metadata",
    "azure_instance_tags",
    "block_devices",
    "carbon_black_info",
    "carves",
    "certificates",
    "chrome_extension_content_scripts",
    "chrome_extensions",
    "cpu_info",
    "cpu_time",
    "cpuid",
    "crontab",
    "curl",
    "curl_certificate",
    "deb_package_files",
    "deb_packages",
    "disk_encryption",
    "dns_resolvers",
    "docker_container_envs",
    "docker_container_fs_changes",
    "docker_container_labels",
    "docker_container_mounts",
    "docker_container_networks",
    "docker_container_ports",
    "docker_container_processes",
    "docker_container_stats",
    "docker_containers",
    "docker_image_history",
    "docker_image_labels",
    "docker_image_layers",
    "docker_images",
    "docker_info",
    "docker_network_labels",
    "docker_networks",
    "docker_version",
    "docker_volume_labels",
    "docker_volumes",
    "ec2_instance_metadata",
    "ec2_instance_tags",
    "etc_hosts",
    "etc_protocols",
    "etc_services",
    "extended_attributes",
    "file",
    "file_events",
    "firefox_addons",
    "groups",
    "hardware_events",
    "hash",
    "intel_me_info",
    "interface_addresses",
    "interface_details",
    "interface_ipv6",
    "iptables",
    "jetbrains_plugins",
    "kernel_info",
    "kernel_keys",
    "kernel_modules",
    "known_hosts",
    "last",
    "listening_ports",
    "load_average",
    "logged_in_users",
    "lxd_certificates",
    "lxd_cluster",
    "lxd_cluster_members",
    "lxd_images",
    "lxd_instance_config",
    "lxd_instance_devices",
    "lxd_instances",
    "lxd_networks",
    "lxd_storage_pools",
    "magic",
    "md_devices",
    "md_drives",
    "md_personalities",
    "memory_array_mapped_addresses",
    "memory_arrays",
    "memory_device_mapped_addresses",
    "memory_devices",
    "memory_error_info",
    "memory_info",
    "memory_map",
    "mounts",
    "msr",
    "npm_packages",
    "oem_strings",
    "os_version",
    "osquery_events",
    "osquery_extensions",
    "osquery_flags",
    "osquery_info",
    "osquery_packs",
    "osquery_registry",
    "osquery_schedule",
    "pci_devices",
    "platform_info",
    "portage_keywords",
    "portage_packages",
    "portage_use",
    "process_envs",
    "process_events",
    "process_file_events",
    "process_memory_map",
    "process_namespaces",
    "process_open_files",
    "process_open_pipes",
    "process_open_sockets",
    "processes",
    "prometheus_metrics",
    "python_packages",
    "routes",
    "rpm_package_files",
    "rpm_packages",
    "seccomp_events",
    "secureboot",
    "secureboot_certificates",
    "selinux_events",
    "selinux_settings",
    "shadow",
    "shared_memory",
    "shell_history",
    "smbios_tables",
    "socket_events",
    "ssh_configs",
    "startup_items",
    "sudoers",
    "suid_bin",
    "syslog_events",
    "system_controls",
    "system_info",
    "systemd_units",
    "time",
    "ulimit_info",
    "uptime",
    "usb_devices",
    "user_events",
    "user_groups",
    "user_ssh_keys",
    "users",
    "vscode_extensions",
    "yara_events",
    "yara_file",
    "yara_process",
    "ycloud_instance_metadata",
    "yum_sources",
];

/// Columns by name and type.
type Columns = &'static [(&'static str, &'static str)];

fn columns(table: &str) -> Option<(Columns, u8)> {
    const UTILITY: u8 = 1;
    const EVENT_BASED: u8 = 4;
    Some(match table {
        "osquery_registry" => (
            &[
                ("registry", "TEXT"),
                ("name", "TEXT"),
                ("owner_uuid", "INTEGER"),
                ("internal", "INTEGER"),
                ("active", "INTEGER"),
            ],
            UTILITY,
        ),
        "osquery_extensions" => (
            &[
                ("uuid", "BIGINT"),
                ("name", "TEXT"),
                ("version", "TEXT"),
                ("sdk_version", "TEXT"),
                ("path", "TEXT"),
                ("type", "TEXT"),
            ],
            UTILITY,
        ),
        "osquery_info" => (
            &[
                ("pid", "INTEGER"),
                ("uuid", "TEXT"),
                ("instance_id", "TEXT"),
                ("version", "TEXT"),
                ("config_hash", "TEXT"),
                ("config_valid", "INTEGER"),
                ("extensions", "TEXT"),
                ("build_platform", "TEXT"),
                ("build_distro", "TEXT"),
                ("start_time", "INTEGER"),
                ("watcher", "INTEGER"),
                ("platform_mask", "INTEGER"),
            ],
            UTILITY,
        ),
        "osquery_schedule" => (
            &[
                ("name", "TEXT"),
                ("query", "TEXT"),
                ("interval", "INTEGER"),
                ("executions", "BIGINT"),
                ("last_executed", "BIGINT"),
                ("denylisted", "INTEGER"),
            ],
            UTILITY,
        ),
        "process_events" => (
            &[("pid", "BIGINT"), ("path", "TEXT"), ("cmdline", "TEXT"), ("time", "BIGINT")],
            EVENT_BASED,
        ),
        "socket_events" => (
            &[("action", "TEXT"), ("pid", "BIGINT"), ("path", "TEXT"), ("time", "BIGINT")],
            EVENT_BASED,
        ),
        "file_events" => {
            (&[("target_path", "TEXT"), ("action", "TEXT"), ("time", "BIGINT")], EVENT_BASED)
        }
        "process_file_events" => (
            &[("operation", "TEXT"), ("pid", "BIGINT"), ("path", "TEXT"), ("time", "BIGINT")],
            EVENT_BASED,
        ),
        _ => return None,
    })
}

fn row<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The route of a core table that is attached here.
pub(super) fn route(table: &str) -> Option<ExtensionPluginResponse> {
    let (columns, attributes) = columns(table)?;
    let columns = columns.iter().map(|(name, ty)| {
        row([
            ("id", "column".to_owned()),
            ("name", (*name).to_owned()),
            ("type", (*ty).to_owned()),
            ("op", "0".to_owned()),
        ])
    });
    let attributes = row([("id", "attributes".to_owned()), ("attributes", attributes.to_string())]);
    Some(columns.chain([attributes]).collect())
}

/// The rows of a core table that is attached here.
pub(super) fn rows(shared: &Shared, table: &str) -> ExtensionPluginResponse {
    match table {
        "osquery_registry" => registry(shared),
        "osquery_extensions" => extensions(shared),
        "osquery_info" => vec![info(shared)],
        "osquery_schedule" => schedule(shared),
        event => {
            log::warn!("Table {event} is event-based but events are disabled");
            Vec::new()
        }
    }
}

fn registry(shared: &Shared) -> ExtensionPluginResponse {
    let plugin = |registry: &str, name: &str, owner: i64| {
        row([
            ("registry", registry.to_owned()),
            ("name", name.to_owned()),
            ("owner_uuid", owner.to_string()),
            ("internal", "0".to_owned()),
            ("active", "1".to_owned()),
        ])
    };
    let core = ATTACHED.iter().map(|name| plugin("table", name, 0));
    let extensions = shared.registry.lock().plugins();
    core.chain(extensions.iter().map(|(registry, name, owner)| plugin(registry, name, *owner)))
        .collect()
}

fn extensions(shared: &Shared) -> ExtensionPluginResponse {
    let core = row([
        ("uuid", "0".to_owned()),
        ("name", "core".to_owned()),
        ("version", manager::version()),
        ("sdk_version", super::OSQUERY_VERSION.to_owned()),
        ("path", shared.options.socket.display().to_string()),
        ("type", "core".to_owned()),
    ]);
    let others = shared.extensions().into_iter().map(|(uuid, info)| {
        row([
            ("uuid", uuid.to_string()),
            ("name", info.name.unwrap_or_default()),
            ("version", info.version.unwrap_or_default()),
            ("sdk_version", info.sdk_version.unwrap_or_default()),
            ("path", shared.extension_socket(uuid).display().to_string()),
            ("type", "extension".to_owned()),
        ])
    });
    [core].into_iter().chain(others).collect()
}

/// What is not known here is left out, and reads as NULL.
fn info(shared: &Shared) -> BTreeMap<String, String> {
    let started = shared.started.duration_since(std::time::UNIX_EPOCH).map_or(0, |at| at.as_secs());
    row([
        ("pid", std::process::id().to_string()),
        ("version", manager::version()),
        ("config_valid", "1".to_owned()),
        ("extensions", "active".to_owned()),
        ("build_platform", "linux".to_owned()),
        ("start_time", started.to_string()),
        ("watcher", "-1".to_owned()),
        // PlatformType::TYPE_POSIX | TYPE_LINUX.
        ("platform_mask", "9".to_owned()),
    ])
}

fn schedule(shared: &Shared) -> ExtensionPluginResponse {
    let queries = shared.schedule.lock().clone();
    queries
        .iter()
        .map(|query| {
            let executions = query.executions.load(std::sync::atomic::Ordering::Relaxed);
            row([
                ("name", query.name.clone()),
                ("query", query.query.clone()),
                ("interval", query.interval.to_string()),
                ("executions", executions.to_string()),
                (
                    "last_executed",
                    shared
                        .database
                        .get(super::database::CONFIGURATIONS, &format!("timestamp.{}", query.name))
                        .unwrap_or_else(|| "0".to_owned()),
                ),
                ("denylisted", "0".to_owned()),
            ])
        })
        .collect()
}
