//! A key broker as a process that has the keys, and what its owner sets it up and asks it with.
//!
//! The *keeper* is the one of a broker's two processes that decides, and that has the secrets, the
//! decision log, and every key. It faces the front, which faces the network, and its owner.
//!
//! - [`Config`]: `kbs.toml`, wholly checked.
//! - [`KeyFile`], [`TlsKey`], [`Identity`]: keys in files, and the identity that guests pin.
//! - [`owner`]: what the owner asks of the store, with and without a broker that runs.
//! - [`spawn`], [`Plan`], [`Word`], [`hand_over()`]: a keeper as its supervisor sees it.
//! - [`process`], [`profile`]: the process, from its first instruction to its last, and its lock.
//!
//! An answer leaves when what was decided for it is in the decision log, on the disk. Everything
//! that anybody may have written (store, log, policy, certificates) is looked at when the process
//! is locked; its keys it reads before, and closes their files.
#![forbid(unsafe_code)]

mod config;
mod der;
mod given;
mod hand_over;
mod journal;
mod key_file;
mod office;
pub mod owner;
mod plan;
pub mod process;
pub mod profile;
mod queue;
mod starter;
mod tls;
mod wire;
mod words;

pub use config::{Config, ConfigError, Limits, Listen, MAX_CONNECTIONS, MAX_DOCUMENT};
pub use given::{Descriptors, StartError, spawn};
pub use hand_over::hand_over;
pub use key_file::{KeyError, KeyFile, create_pem};
pub use plan::{Names, Plan};
pub use starter::starter;
pub use tls::{Curve, Identity, TlsError, TlsKey, pin};
pub use words::{MAX_WORD, Word};
