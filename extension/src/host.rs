//! A minimal osquery: the other end of the socket, for `osquery-ebpf shell` and for tests.
//!
//! It speaks osqueryd's protocol on a private socket (registration with its refusals, database,
//! configuration, queries), keeps osqueryd's tables about itself, and runs SQL over virtual tables
//! that call extensions exactly as osqueryd does. Facts are osquery 5.23's; each file names the
//! osquery source it follows. What it leaves out: every core table that is not about osquery
//! itself, packs, splay, and loggers other than a stream of lines.

pub mod core_tables;
mod database;
mod differential;
mod extension;
mod manager;
mod registry;
mod results;
mod schedule;
mod sql;
mod vtab;

pub use database::Database;
pub use schedule::{ScheduleError, Scheduled, parse as parse_schedule};
pub use sql::{Answer, Cell, SqlError};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::server::{BindError, Limits, Server};
use crate::stop::Stop;
use crate::thrift::{ExtensionPluginResponse, ExtensionRegistry, InternalExtensionInfo};
use registry::Registry;
use sql::Sql;

/// The version of osquery whose behaviour is copied.
pub const OSQUERY_VERSION: &str = "5.23.0";
/// The oldest SDK an extension may name (`kSDKVersionChanges` in osquery/extensions/interface.cpp).
const OLDEST_SDK: &str = "1.7.7";

/// How the host behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its manager socket. Extensions' sockets stand beside it.
    pub socket: PathBuf,
    /// The configuration that `genConfig` gives, as JSON text.
    pub config: String,
    /// `--disable_tables`: core tables that are not attached, so that aliases can have their names.
    pub disabled: BTreeSet<String>,
    /// How often extensions are pinged; one failure takes them off the list.
    pub interval: Duration,
}

impl Options {
    /// Defaults, on this socket: no configuration, core's event tables disabled, pings every 3 s.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            config: "{}".to_owned(),
            disabled: core_tables::EVENTS.iter().map(|name| (*name).to_owned()).collect(),
            interval: Duration::from_secs(3),
        }
    }
}

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its SQL.
    #[error("the SQL engine cannot start: {0}")]
    Sql(#[from] SqlError),
    /// Its threads.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// What manager calls, SQL and the scheduler share.
pub(crate) struct Shared {
    options: Options,
    started: SystemTime,
    config: Mutex<String>,
    registry: Mutex<Registry>,
    /// One registration at a time, as each attaches tables that must not clash.
    registering: Mutex<()>,
    database: Database,
    schedule: Mutex<Vec<Scheduled>>,
    memory: Mutex<differential::Memory>,
    sql: Mutex<Option<Sql>>,
    next_uuid: AtomicI64,
}

/// A host at work. Dropping it stops it.
pub struct Host {
    shared: Arc<Shared>,
    server: Server,
    stop: Arc<Stop>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Host {
    /// Starts serving on `options.socket`.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn start(options: Options) -> Result<Self, HostError> {
        let socket = options.socket.clone();
        let interval = options.interval;
        let config = Mutex::new(options.config.clone());
        let shared = Arc::new(Shared {
            options,
            config,
            started: SystemTime::now(),
            registry: Mutex::default(),
            registering: Mutex::default(),
            database: Database::default(),
            schedule: Mutex::default(),
            memory: Mutex::default(),
            sql: Mutex::new(None),
            next_uuid: AtomicI64::new(i64::from(std::process::id() & 0x7fff)),
        });
        *shared.sql.lock() = Some(Sql::open(&shared)?);
        let handler = Arc::new(manager::Service::new(Arc::clone(&shared)));
        let server = Server::bind(&socket, Limits::default(), handler)?;
        let stop = Arc::new(Stop::new().map_err(HostError::Thread)?);
        let watcher = std::thread::Builder::new()
            .name("host-watch".to_owned())
            .spawn({
                let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
                move || {
                    while !stop.wait(interval) {
                        shared.ping_extensions();
                    }
                }
            })
            .map_err(HostError::Thread)?;
        Ok(Self { shared, server, stop, threads: vec![watcher] })
    }

    /// The manager socket.
    pub fn socket(&self) -> &Path {
        self.server.path()
    }

    /// Runs statements, giving each one's rows as soon as it is done.
    ///
    /// # Errors
    /// [`SqlError`] of the first statement that fails.
    pub fn query(&self, sql: &str, each: &mut dyn FnMut(Answer)) -> Result<(), SqlError> {
        self.shared.query(sql, each)
    }

    /// The database that extensions can read and write.
    pub fn database(&self) -> &Database {
        &self.shared.database
    }

    /// Another configuration for `genConfig` to give.
    pub fn set_config(&self, config: &str) {
        config.clone_into(&mut self.shared.config.lock());
    }

    /// Numbers and names of the extensions that are registered.
    pub fn extensions(&self) -> BTreeMap<i64, String> {
        self.shared
            .extensions()
            .into_iter()
            .map(|(uuid, info)| (uuid, info.name.unwrap_or_default()))
            .collect()
    }

    /// The columns of every table that can be queried, views included.
    ///
    /// # Errors
    /// [`SqlError`].
    pub fn tables(&self) -> Result<BTreeMap<String, Vec<(String, String)>>, SqlError> {
        self.shared.with_sql(Sql::tables)
    }

    /// Runs the schedule from now on, writing result lines to `out`. Queries may be added later.
    ///
    /// # Errors
    /// [`HostError::Thread`].
    pub fn schedule(
        &mut self,
        queries: Vec<Scheduled>,
        out: Box<dyn std::io::Write + Send>,
    ) -> Result<(), HostError> {
        *self.shared.schedule.lock() = queries;
        let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&self.stop));
        let scheduler = std::thread::Builder::new()
            .name("host-schedule".to_owned())
            .spawn(move || schedule::run(&shared, &stop, out))
            .map_err(HostError::Thread)?;
        self.threads.push(scheduler);
        Ok(())
    }

    /// Adds a query to the schedule, in place of one of the same name.
    pub fn add_scheduled(&self, query: Scheduled) {
        let mut schedule = self.shared.schedule.lock();
        schedule.retain(|other| other.name != query.name);
        schedule.push(query);
    }

    /// Runs one scheduled query now, as the scheduler would, and returns its result lines.
    ///
    /// # Errors
    /// [`SqlError`].
    pub fn run_scheduled(&self, query: &Scheduled) -> Result<Vec<String>, SqlError> {
        schedule::execute(&self.shared, query)
    }

    /// Stops. Extensions are asked to shut down, as osqueryd does.
    pub fn stop(&mut self) {
        self.stop.request();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::warn!("a thread of the host has panicked");
            }
        }
        for uuid in self.shared.extensions().into_keys() {
            if let Err(error) = extension::shutdown(&self.shared.extension_socket(uuid)) {
                log::debug!("extension {uuid}: shutdown: {error}");
            }
        }
        self.server.stop();
    }

    /// Stops as a killed process does: without a word to anyone.
    pub fn abandon(mut self) {
        self.stop.request();
        self.shared.registry.lock().forget_extensions();
        self.stop();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn weak(self: &Arc<Self>) -> Weak<Self> {
        Arc::downgrade(self)
    }

    fn with_sql<T>(&self, work: impl FnOnce(&Sql) -> Result<T, SqlError>) -> Result<T, SqlError> {
        match self.sql.lock().as_ref() {
            Some(sql) => work(sql),
            None => Err(SqlError("the SQL engine is not running".to_owned())),
        }
    }

    pub(crate) fn query(&self, sql: &str, each: &mut dyn FnMut(Answer)) -> Result<(), SqlError> {
        self.with_sql(|engine| engine.query(sql, each))
    }

    pub(crate) fn extension_socket(&self, uuid: i64) -> PathBuf {
        let mut path = self.options.socket.clone().into_os_string();
        path.push(format!(".{uuid}"));
        path.into()
    }

    pub(crate) fn extensions(&self) -> BTreeMap<i64, InternalExtensionInfo> {
        self.registry.lock().extensions()
    }

    fn register(
        &self,
        info: InternalExtensionInfo,
        registry: &ExtensionRegistry,
    ) -> Result<i64, String> {
        let _one = self.registering.lock();
        let name = info.name.clone().unwrap_or_default();
        if self.registry.lock().has_extension(&name) {
            log::error!("Refusing to register duplicate extension {name}");
            return Err("Duplicate extension registered".to_owned());
        }
        let sdk = info.sdk_version.as_deref().unwrap_or_default();
        if !registry::version_at_least(OLDEST_SDK, sdk) {
            return Err("Incompatible extension SDK version".to_owned());
        }
        let uuid = self.next_uuid.fetch_add(1, Ordering::Relaxed).max(1);
        let added = self.registry.lock().add(uuid, registry);
        let tables = match added {
            Ok(tables) => tables,
            Err(message) => return Err(format!("Failed adding registry: {message}")),
        };
        for table in &tables {
            if let Err(error) = self.with_sql(|sql| sql.attach(table)) {
                log::error!("Error attaching table: {table}: {error}");
                self.detach(&tables);
                self.registry.lock().remove(uuid);
                return Err(format!("Failed adding registry: {error}"));
            }
        }
        self.registry.lock().confirm(uuid, info);
        Ok(uuid)
    }

    fn detach(&self, tables: &[String]) {
        for table in tables {
            if let Err(error) = self.with_sql(|sql| sql.detach(table)) {
                log::error!("Error detaching table: {table}: {error}");
            }
        }
    }

    fn deregister(&self, uuid: i64) -> bool {
        if !self.registry.lock().knows(uuid) {
            return false;
        }
        let tables = self.registry.lock().remove(uuid);
        self.detach(&tables);
        true
    }

    /// One failed ping and the extension is gone (osquery/extensions/extensions.cpp,
    /// `ExtensionManagerWatcher::watch`).
    fn ping_extensions(&self) {
        for uuid in self.extensions().into_keys() {
            if let Err(error) = extension::ping(&self.extension_socket(uuid)) {
                log::info!("Extension UUID {uuid} has gone away: {error}");
                self.deregister(uuid);
            }
        }
    }

    /// The route of a table: the core's own, or what its extension registered.
    pub(crate) fn route(&self, table: &str) -> Option<ExtensionPluginResponse> {
        core_tables::route(table).or_else(|| self.registry.lock().route("table", table))
    }

    pub(crate) fn owner(&self, table: &str) -> Option<i64> {
        self.registry.lock().owner("table", table)
    }
}

/// Seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
