//! The authorities that this system believes: read once, when they are first asked for.

use std::sync::Arc;

use rustls::RootCertStore;
use tokio::sync::OnceCell;

/// What endpoints and probes are verified by without a `ca` of their own.
///
/// # Errors
/// This system has none; the next call looks again.
pub(super) async fn system() -> Result<Arc<RootCertStore>, String> {
    static SYSTEM: OnceCell<Arc<RootCertStore>> = OnceCell::const_new();
    SYSTEM.get_or_try_init(read).await.cloned()
}

/// Reading files may take its time, and the control thread has more to do.
async fn read() -> Result<Arc<RootCertStore>, String> {
    let roots = tokio::task::spawn_blocking(|| {
        let mut roots = RootCertStore::empty();
        // One bad certificate among the system's is no reason to do without the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let roots = roots.await.map_err(|error| error.to_string())?;
    if roots.is_empty() {
        Err("this system has no root certificates, set `ca`".to_owned())
    } else {
        Ok(Arc::new(roots))
    }
}
