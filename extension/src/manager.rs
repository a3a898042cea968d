//! Calls to osqueryd: the client's end of its manager socket.
//!
//! One [`Manager`] is one connection. It checks who answers, gives up in time, and turns every
//! failure into a [`ManagerError`] that names the socket and the call.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::thrift::{
    ExtensionManagerSyncClient, ExtensionPluginRequest, ExtensionPluginResponse, ExtensionRegistry,
    ExtensionResponse, ExtensionStatus, InternalExtensionInfo, InternalExtensionList,
    InternalOptionList, TExtensionManagerSyncClient, TExtensionSyncClient,
};
use crate::wire::{Deadline, Input, Output, PeerError, Stream, check_peer, connect, output};

/// The largest answer taken. The largest there are is a fleet's configuration.
const ANSWER_BYTES: usize = 64 << 20;

/// A connection to osqueryd.
pub struct Manager {
    path: PathBuf,
    watch: UnixStream,
    deadline: Deadline,
    timeout: Duration,
    client: ExtensionManagerSyncClient<Input<Stream>, Output>,
}

/// Why a call to osqueryd brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// Nobody listens.
    #[error("{path}: cannot connect: {error}")]
    Connect {
        /// The manager socket.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Somebody else listens.
    #[error("{path}: {error}")]
    Peer {
        /// The manager socket.
        path: PathBuf,
        /// Who it was.
        error: PeerError,
    },
    /// The connection broke, timed out or spoke something else.
    #[error("{path}: {call}: {error}")]
    Broken {
        /// The manager socket.
        path: PathBuf,
        /// The call that was made.
        call: &'static str,
        /// What happened.
        error: thrift::Error,
    },
    /// osqueryd answered that it would not.
    #[error("osqueryd refused {call}: {message} (code {code})")]
    Refused {
        /// The call that was made.
        call: &'static str,
        /// The status's code.
        code: i32,
        /// The status's message.
        message: String,
    },
}

impl ManagerError {
    /// osqueryd is there, understood, and said no.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

impl Manager {
    /// Connects to the manager socket at `path`; each call may take `timeout`.
    ///
    /// # Errors
    /// [`ManagerError::Connect`] or [`ManagerError::Peer`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ManagerError> {
        let failed = |error| ManagerError::Connect { path: path.to_owned(), error };
        let stream = connect(path, timeout).map_err(failed)?;
        check_peer(&stream).map_err(|error| ManagerError::Peer { path: path.to_owned(), error })?;
        let watch = stream.try_clone().map_err(failed)?;
        let deadline = Deadline::new(timeout, timeout);
        let reading = Stream::new(stream, deadline.clone());
        let writing = reading.try_clone().map_err(failed)?;
        let client =
            ExtensionManagerSyncClient::new(Input::new(reading, ANSWER_BYTES), output(writing));
        Ok(Self { path: path.to_owned(), watch, deadline, timeout, client })
    }

    /// Each further call may take `timeout`.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// A descriptor that becomes readable when osqueryd hangs up.
    pub fn watch(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn broken(&self, call: &'static str) -> impl FnOnce(thrift::Error) -> ManagerError {
        let path = self.path.clone();
        move |error| ManagerError::Broken { path, call, error }
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn ping(&mut self) -> Result<(), ManagerError> {
        self.deadline.restart(self.timeout);
        let status = self.client.ping().map_err(self.broken("ping"))?;
        accepted("ping", Some(status)).map(|_| ())
    }

    /// The extensions that are registered.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn extensions(&mut self) -> Result<InternalExtensionList, ManagerError> {
        self.deadline.restart(self.timeout);
        self.client.extensions().map_err(self.broken("extensions"))
    }

    /// osqueryd's flags.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn options(&mut self) -> Result<InternalOptionList, ManagerError> {
        self.deadline.restart(self.timeout);
        self.client.options().map_err(self.broken("options"))
    }

    /// Registers an extension and returns its number.
    ///
    /// # Errors
    /// [`ManagerError`]; a name that is taken is a refusal.
    pub fn register(
        &mut self,
        info: InternalExtensionInfo,
        registry: ExtensionRegistry,
    ) -> Result<i64, ManagerError> {
        const CALL: &str = "registerExtension";
        self.deadline.restart(self.timeout);
        let status = self.client.register_extension(info, registry).map_err(self.broken(CALL))?;
        let status = accepted(CALL, Some(status))?;
        status.uuid.ok_or_else(|| ManagerError::Refused {
            call: CALL,
            code: 0,
            message: "it gave no number".to_owned(),
        })
    }

    /// Takes an extension off osqueryd's list.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn deregister(&mut self, uuid: i64) -> Result<(), ManagerError> {
        const CALL: &str = "deregisterExtension";
        self.deadline.restart(self.timeout);
        let status = self.client.deregister_extension(uuid).map_err(self.broken(CALL))?;
        accepted(CALL, Some(status)).map(|_| ())
    }

    /// Runs SQL in osqueryd. Never from inside a table: osqueryd may hold locks meanwhile.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn query(&mut self, sql: &str) -> Result<ExtensionPluginResponse, ManagerError> {
        self.deadline.restart(self.timeout);
        let answer = self.client.query(sql.to_owned()).map_err(self.broken("query"))?;
        rows("query", answer)
    }

    /// Calls a plugin of osqueryd's. An empty `item` means the active one of `registry`.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub fn call(
        &mut self,
        registry: &str,
        item: &str,
        request: &[(&str, &str)],
    ) -> Result<ExtensionPluginResponse, ManagerError> {
        self.deadline.restart(self.timeout);
        let request: ExtensionPluginRequest = request
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>();
        let answer = self
            .client
            .call(registry.to_owned(), item.to_owned(), request)
            .map_err(self.broken("call"))?;
        rows("call", answer)
    }

    /// A value of osqueryd's database. `None`: there is none.
    ///
    /// # Errors
    /// [`ManagerError`], except a refusal, which is how osqueryd says that there is no such key.
    pub fn database(&mut self, domain: &str, key: &str) -> Result<Option<String>, ManagerError> {
        let request = [("action", "get"), ("domain", domain), ("key", key)];
        match self.call("database", "", &request) {
            Ok(rows) => Ok(rows.into_iter().next().and_then(|mut row| row.remove("v"))),
            Err(error) if error.is_refusal() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn accepted(
    call: &'static str,
    status: Option<ExtensionStatus>,
) -> Result<ExtensionStatus, ManagerError> {
    let status = status.unwrap_or_default();
    match status.code {
        Some(0) => Ok(status),
        code => Err(ManagerError::Refused {
            call,
            code: code.unwrap_or(-1),
            message: status.message.unwrap_or_default(),
        }),
    }
}

fn rows(
    call: &'static str,
    answer: ExtensionResponse,
) -> Result<ExtensionPluginResponse, ManagerError> {
    accepted(call, answer.status)?;
    Ok(answer.response.unwrap_or_default())
}
