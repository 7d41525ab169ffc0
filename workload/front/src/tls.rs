//! TLS as a broker speaks it: version 1.3, one certificate, nothing kept from one connection for
//! another.

use crate::plan::Plan;
use crate::signer::RemoteKey;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{Error, ServerConfig};
use std::sync::Arc;

/// What every connection is made from.
///
/// No resumption: a ticket would need a key that several brokers share and that somebody who takes
/// a front over has, and a guest asks once.
pub(crate) fn config(plan: &Plan, key: RemoteKey) -> Result<Arc<ServerConfig>, Error> {
    let chain = plan.chain.iter().cloned().map(CertificateDer::from).collect();
    let certified = CertifiedKey::new(chain, Arc::new(key));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
