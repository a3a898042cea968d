//! osquery's key-value database, in memory.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::thrift::{ExtensionPluginRequest, ExtensionPluginResponse};

/// The domain of settings, `executing_query` among them (`kPersistentSettings`).
pub const CONFIGURATIONS: &str = "configurations";
/// The domain of query results and counters (`kQueries`).
pub const QUERIES: &str = "queries";
/// Bytes of keys and values at most. Extensions keep settings here, not data.
const MAX_BYTES: usize = 64 << 20;

/// Domains of keys and values.
#[derive(Debug, Default)]
pub struct Database(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    values: BTreeMap<(String, String), String>,
    bytes: usize,
}

impl Database {
    /// The value of a key.
    pub fn get(&self, domain: &str, key: &str) -> Option<String> {
        self.0.lock().values.get(&(domain.to_owned(), key.to_owned())).cloned()
    }

    /// Sets a key. False: the database is full.
    pub fn put(&self, domain: &str, key: &str, value: &str) -> bool {
        let mut inner = self.0.lock();
        let place = (domain.to_owned(), key.to_owned());
        let old = inner.values.get(&place).map_or(0, |value| key.len() + value.len());
        let bytes = inner.bytes - old + key.len() + value.len();
        if bytes > MAX_BYTES {
            return false;
        }
        inner.bytes = bytes;
        inner.values.insert(place, value.to_owned());
        true
    }

    /// Removes a key.
    pub fn remove(&self, domain: &str, key: &str) {
        let mut inner = self.0.lock();
        if let Some(value) = inner.values.remove(&(domain.to_owned(), key.to_owned())) {
            inner.bytes -= key.len() + value.len();
        }
    }

    /// Keys of a domain that begin with `prefix`; `max` of them, or all for 0.
    pub fn scan(&self, domain: &str, prefix: &str, max: usize) -> Vec<String> {
        let max = if max == 0 { usize::MAX } else { max };
        let inner = self.0.lock();
        let keys = inner.values.keys().filter(|(at, key)| at == domain && key.starts_with(prefix));
        keys.take(max).map(|(_, key)| key.clone()).collect()
    }

    /// Answers a call of the `database` plugin (osquery/database/database.cpp).
    ///
    /// # Errors
    /// The message of a status that is not success.
    pub fn call(
        &self,
        request: &ExtensionPluginRequest,
    ) -> Result<ExtensionPluginResponse, String> {
        let field = |name: &str| request.get(name).map_or("", String::as_str);
        let (domain, key) = (field("domain"), field("key"));
        match request.get("action").map(String::as_str) {
            Some("get") => match self.get(domain, key) {
                Some(value) => Ok(vec![[("v".to_owned(), value)].into()]),
                None => Err("NotFound: ".to_owned()),
            },
            Some("put") => match request.get("value") {
                None => Err("Database plugin put action requires a value".to_owned()),
                Some(value) if self.put(domain, key, value) => Ok(Vec::new()),
                Some(_) => Err("the database is full".to_owned()),
            },
            Some("remove") => {
                self.remove(domain, key);
                Ok(Vec::new())
            }
            Some("scan") => {
                let max = field("max").parse().unwrap_or(0);
                let keys = self.scan(domain, field("prefix"), max);
                Ok(keys.into_iter().map(|key| [("k".to_owned(), key)].into()).collect())
            }
            Some(_) => Err("Unknown database plugin action".to_owned()),
            None => Err("Database plugin must include a request action".to_owned()),
        }
    }
}
