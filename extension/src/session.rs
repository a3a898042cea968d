//! The life of the extension beside osqueryd: waiting, registering, serving, losing, finding again.
//!
//! What osqueryd does, and this follows (osquery/core/watcher.cpp, osquery/extensions): under
//! autoload its watcher starts us, often before the worker's socket exists, restarts us three
//! seconds after any exit, and sends SIGTERM when all of osquery stops. When only the worker dies,
//! we are kept: events go on being collected, and the new worker is registered with. The worker's
//! own last act is a `shutdown` call to every extension; since a worker is also restarted for its
//! memory, that call begins the grace period and does not end us at once.

mod clash;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use osquery_ebpf_tables::scan::Tables;

use crate::caller::ManagerCaller;
use crate::manager::{Manager, ManagerError};
use crate::plugin::{Endpoint, registry};
use crate::server::{BindError, Limits, Server};
use crate::stop::Stop;
use crate::thrift::InternalExtensionInfo;

/// Our name among extensions; `--extensions_require=osquery_ebpf` waits for it.
pub const NAME: &str = "osquery_ebpf";
/// The SDK whose protocol we speak, and the oldest that speaks it too.
const SDK: &str = "5.23.0";
const OLDEST_SDK: &str = "1.7.7";

/// What a sign of life may take.
const PING: Duration = Duration::from_secs(5);
/// What registering may take: osqueryd attaches our tables between two queries, not during one.
const REGISTER: Duration = Duration::from_secs(60);
/// Between two looks for the socket while it is missing; later, when it has been missing long.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_LATER: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(60);
/// After osqueryd has said that it is going, before its socket is tried again.
const AFTER_SHUTDOWN: Duration = Duration::from_secs(1);
/// Between two attempts to register after a refusal: the first pause, and the longest.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// How long an autoloaded extension goes on trying before it exits, to be started again.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long an earlier registration of ours may take to vanish.
const PREDECESSOR: Duration = Duration::from_secs(15);

/// Who has started us, and so who cares about our exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// osqueryd's watcher, which starts us again at once.
    Autoload,
    /// A person, who is to see what is wrong at once.
    ByHand,
    /// A service manager.
    Service,
}

impl Mode {
    /// Autoload is told by the variable that osqueryd's watcher sets to our process id.
    pub fn detect(serve: bool) -> Self {
        let own = std::process::id().to_string();
        if std::env::var("OSQUERY_EXTENSION").is_ok_and(|pid| pid == own) {
            Self::Autoload
        } else if serve {
            Self::Service
        } else {
            Self::ByHand
        }
    }
}

/// How the session behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// osqueryd's manager socket.
    pub socket: PathBuf,
    /// Who has started us.
    pub mode: Mode,
    /// How long to go on without osqueryd. `None`: for ever.
    pub grace: Option<Duration>,
    /// Between two looks whether we are still registered.
    pub interval: Duration,
    /// Leave at the first refusal, whoever has started us.
    pub once: bool,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As asked.
    Stopped,
    /// osqueryd has been away for longer than the grace period.
    OsqueryGone,
    /// osqueryd would not have us.
    Refused(String),
}

/// What a session is told of, from its own thread.
pub trait Observer: Send + Sync {
    /// We are registered at this socket.
    fn registered(&self, socket: &Path);
    /// We no longer are.
    fn lost(&self);
    /// osqueryd would not have us, for this reason.
    fn refused(&self, why: &str);
}

/// The extension's session with osqueryd.
pub struct Session {
    options: Options,
    tables: Arc<dyn Tables>,
    caller: Arc<ManagerCaller>,
    observer: Arc<dyn Observer>,
    stop: Arc<Stop>,
}

/// Why an attempt to register has failed.
enum Failure {
    /// Nobody is there, or not yet.
    Absent(ManagerError),
    /// osqueryd is there and will not have us.
    Refused(String),
}

impl From<ManagerError> for Failure {
    fn from(error: ManagerError) -> Self {
        if error.is_refusal() { Self::Refused(error.to_string()) } else { Self::Absent(error) }
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        Self::Refused(format!("cannot serve: {error}"))
    }
}

struct Attached {
    manager: Manager,
    uuid: i64,
    server: Server,
    /// osqueryd has asked us to shut down.
    leave: Arc<Stop>,
}

impl Session {
    /// A session that has not begun. `stop` ends it.
    pub fn new(
        options: Options,
        tables: Arc<dyn Tables>,
        observer: Arc<dyn Observer>,
        stop: Arc<Stop>,
    ) -> Self {
        Self { options, tables, caller: Arc::default(), observer, stop }
    }

    /// Runs until it ends.
    pub fn run(&self) -> Ended {
        let began = Instant::now();
        let mut seen = Instant::now();
        let mut retry = RETRY;
        let mut refused: Option<(Instant, String)> = None;
        let mut absence = String::new();
        log::info!("waiting for osqueryd at {}", self.options.socket.display());
        while !self.stop.requested() {
            let attached = self.attach();
            if attached.is_err() {
                self.caller.set_socket(None);
            }
            match attached {
                Ok(attached) => {
                    (retry, refused) = (RETRY, None);
                    absence.clear();
                    let asked = self.serve(attached);
                    seen = Instant::now();
                    if self.stop.requested() {
                        break;
                    }
                    if asked {
                        self.stop.wait(AFTER_SHUTDOWN);
                    }
                }
                Err(Failure::Absent(error)) => {
                    let error = error.to_string();
                    if absence != error {
                        log::debug!("{error}");
                        absence = error;
                    }
                    if self.options.grace.is_some_and(|grace| seen.elapsed() >= grace) {
                        log::warn!("no osqueryd for {:?}, stopping", seen.elapsed());
                        return Ended::OsqueryGone;
                    }
                    let long = seen.elapsed() > LATER;
                    self.stop.wait(if long { LOOK_LATER } else { LOOK });
                }
                Err(Failure::Refused(why)) => {
                    seen = Instant::now();
                    absence.clear();
                    let since = refused.as_ref().map_or(seen, |(since, _)| *since);
                    if refused.as_ref().is_none_or(|(_, said)| *said != why) {
                        log::error!("{why}");
                    }
                    self.observer.refused(&why);
                    refused = Some((since, why.clone()));
                    if self.leaves(since) {
                        return Ended::Refused(why);
                    }
                    self.stop.wait(retry);
                    retry = (retry * 2).min(RETRY_LONGEST);
                }
            }
        }
        log::info!("stopping after {:?}", began.elapsed());
        refused.map_or(Ended::Stopped, |(_, why)| Ended::Refused(why))
    }

    /// Whether to exit over a refusal. osqueryd's watcher would start us again within seconds, for
    /// ever, so an autoloaded extension stays and tries at growing intervals first.
    fn leaves(&self, since: Instant) -> bool {
        match self.options.mode {
            _ if self.options.once => true,
            Mode::ByHand => true,
            Mode::Autoload => since.elapsed() >= PATIENCE,
            Mode::Service => false,
        }
    }

    fn attach(&self) -> Result<Attached, Failure> {
        let socket = &self.options.socket;
        let mut manager = Manager::connect(socket, PING)?;
        manager.ping()?;
        manager.set_timeout(REGISTER);
        self.clear_predecessor(&mut manager)?;
        if let Some(clash) = clash::find(&mut manager, self.tables.tables())? {
            return Err(Failure::Refused(clash.to_string()));
        }
        let info = InternalExtensionInfo {
            name: Some(NAME.to_owned()),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            sdk_version: Some(SDK.to_owned()),
            min_sdk_version: Some(OLDEST_SDK.to_owned()),
        };
        let uuid = manager.register(info, registry(self.tables.tables()))?;
        let leave = Arc::new(
            Stop::new()
                .map_err(|error| Failure::Refused(format!("no descriptor is left: {error}")))?,
        );
        let endpoint = Endpoint::new(
            Arc::clone(&self.tables),
            Arc::clone(&self.caller) as Arc<dyn crate::caller::CallerSource>,
            {
                let leave = Arc::clone(&leave);
                move || leave.request()
            },
        );
        endpoint.set_uuid(uuid);
        // Before the first question can come: a scheduled query must not pass for an ad-hoc one.
        self.caller.set_socket(Some(socket.clone()));
        let server =
            match Server::bind(&beside(socket, uuid), Limits::default(), Arc::new(endpoint)) {
                Ok(server) => server,
                Err(error) => {
                    // Do not leave a registration behind that nobody answers for.
                    if let Err(error) = manager.deregister(uuid) {
                        log::debug!("{error}");
                    }
                    return Err(error.into());
                }
            };
        // A status of success is not enough: look whether we are on the list.
        if !manager.extensions()?.contains_key(&uuid) {
            return Err(Failure::Refused(format!(
                "osqueryd accepted us as extension {uuid} but does not list it"
            )));
        }
        manager.set_timeout(PING);
        Ok(Attached { manager, uuid, server, leave })
    }

    /// An earlier process of ours that died without a word stays registered until osqueryd pings
    /// it in vain. If nobody answers on its socket, take it off the list; if somebody does, it is
    /// a second osquery-ebpf.
    fn clear_predecessor(&self, manager: &mut Manager) -> Result<(), Failure> {
        let until = Instant::now() + PREDECESSOR;
        loop {
            let extensions = manager.extensions()?;
            let Some(uuid) = extensions
                .iter()
                .find_map(|(uuid, info)| (info.name.as_deref() == Some(NAME)).then_some(*uuid))
            else {
                return Ok(());
            };
            let socket = beside(&self.options.socket, uuid);
            if Manager::connect(&socket, PING).and_then(|mut other| other.ping()).is_ok() {
                return Err(Failure::Refused(format!(
                    "another {NAME} is registered already (extension {uuid}, socket {})",
                    socket.display()
                )));
            }
            if Instant::now() >= until {
                return Err(Failure::Refused(format!(
                    "an earlier {NAME} (extension {uuid}) does not leave osqueryd's list"
                )));
            }
            match manager.deregister(uuid) {
                Ok(()) => log::info!("took an earlier {NAME} (extension {uuid}) off the list"),
                Err(error) => log::debug!("{error}"),
            }
            if self.stop.wait(LOOK) {
                return Ok(());
            }
        }
    }

    /// Serves until osqueryd is lost or we are stopped. True: osqueryd has asked us to go.
    fn serve(&self, mut attached: Attached) -> bool {
        let socket = &self.options.socket;
        let uuid = attached.uuid;
        self.observer.registered(socket);
        log::info!(
            "registered as extension {uuid} with {} tables at {}",
            self.tables.tables().len(),
            attached.server.path().display()
        );
        clash::explain_aliases(&mut attached.manager, self.tables.tables());
        loop {
            let up = self
                .stop
                .wait_for([attached.manager.watch(), attached.leave.fd()], self.options.interval);
            if self.stop.requested() {
                // While our tables are being detached we may still be asked for rows, so the
                // server goes on until osqueryd has let go of us.
                if let Err(error) = attached.manager.deregister(uuid) {
                    log::warn!("{error}");
                }
                break;
            }
            if attached.leave.requested() {
                log::info!("osqueryd is going and has asked us to shut down; events are kept");
                break;
            }
            if up {
                log::warn!("osqueryd has hung up; events are kept while it is away");
                break;
            }
            match attached.manager.extensions() {
                Ok(extensions) if extensions.contains_key(&uuid) => {}
                Ok(_) => {
                    log::warn!("osqueryd has dropped extension {uuid}; registering again");
                    break;
                }
                Err(error) => {
                    log::warn!("{error}; events are kept while osqueryd is away");
                    break;
                }
            }
        }
        self.caller.set_socket(None);
        self.observer.lost();
        attached.server.stop();
        attached.leave.requested()
    }
}

/// The socket of extension `uuid`: the manager's path and its number.
fn beside(socket: &Path, uuid: i64) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(format!(".{uuid}"));
    path.into()
}

#[cfg(test)]
mod tests;
