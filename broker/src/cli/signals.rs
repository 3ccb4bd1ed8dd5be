//! Ctrl-C and SIGTERM as something to wait for and to look at between two records.

use tokio_util::sync::CancellationToken;

/// Set once, by the first signal.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    token: CancellationToken,
}

impl Interrupt {
    /// Takes the signals over from their default, which would end the process at once.
    pub(crate) fn listen() -> Self {
        let interrupt = Self::default();
        let token = interrupt.token.clone();
        tokio::spawn(async move {
            first_signal().await;
            token.cancel();
        });
        interrupt
    }

    /// Whether a signal came.
    pub(crate) fn is_set(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for a signal.
    pub(crate) async fn received(&self) {
        self.token.cancelled().await;
    }
}

#[cfg(unix)]
async fn first_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            // Without a handler the default stays in place, which ends the process.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => if result.is_err() { std::future::pending::<()>().await },
        () = terminate => {}
    }
}

#[cfg(not(unix))]
async fn first_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
