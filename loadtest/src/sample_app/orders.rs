//! What a running app can be told, as lines of text: to get slower, and where the service that it calls is. Whoever
//! started the process gives the orders on its standard input, or in a file; nothing of this can be reached over the
//! network.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The slowest that an app may be told to be, and the fastest: what is beyond is a slip of the pen.
const SLOWDOWN_MAX: f64 = 1_000.0;
const SLOWDOWN_MIN: f64 = 0.001;

/// Between two looks at a file of orders: soon enough for a person, and next to nothing for a machine.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// What can change while an app runs.
#[derive(Debug)]
pub struct Dials(Mutex<State>);

#[derive(Debug)]
struct State {
    slowdown: f64,
    backends: Vec<SocketAddr>,
    next: usize,
}

impl Default for Dials {
    fn default() -> Self {
        Self(Mutex::new(State {
            slowdown: 1.0,
            backends: Vec::new(),
            next: 0,
        }))
    }
}

impl Dials {
    /// Follows one order: `slowdown 10` for service times ten times as long as configured, or `backends 10.0.0.7:8080
    /// 10.0.0.8:8080` for where the downstream is from now on. An empty line is none.
    ///
    /// # Errors
    /// What is wrong with the order; nothing has changed then.
    pub fn obey(&self, order: &str) -> Result<(), String> {
        let mut words = order.split_whitespace();
        match words.next() {
            None => Ok(()),
            Some("slowdown") => {
                let factor = words.next().and_then(|word| word.parse().ok());
                let factor = factor
                    .filter(|factor| (SLOWDOWN_MIN..=SLOWDOWN_MAX).contains(factor))
                    .ok_or_else(|| {
                        format!("`{order}`: a slowdown is a number from {SLOWDOWN_MIN} to {SLOWDOWN_MAX}")
                    })?;
                self.state().slowdown = factor;
                Ok(())
            }
            Some("backends") => {
                let backends = words.map(str::parse).collect::<Result<_, _>>();
                self.set_backends(
                    backends.map_err(|_| {
                        format!("`{order}`: backends are addresses as 10.0.0.7:8080")
                    })?,
                );
                Ok(())
            }
            Some(other) => Err(format!(
                "`{other}` is no order; there are `slowdown` and `backends`"
            )),
        }
    }

    /// Follows the orders that `lines` gives until it ends, and says on standard error which of them it could not.
    pub async fn follow(&self, lines: impl AsyncBufRead + Unpin) {
        let mut lines = lines.lines();
        // The end and a failure mean the same: whoever gave the orders is gone.
        while let Ok(Some(line)) = lines.next_line().await {
            if let Err(wrong) = self.obey(&line) {
                eprintln!("{wrong}");
            }
        }
    }

    /// Follows the orders of a file now, and all of them again whenever it has changed, as a mounted ConfigMap does. A
    /// file that cannot be read orders nothing.
    pub async fn follow_file(&self, file: &Path) {
        let mut followed = Vec::new();
        loop {
            let orders = tokio::fs::read(file).await.unwrap_or_default();
            if orders != followed {
                self.follow(&*orders).await;
                followed = orders;
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// Times as slow as configured.
    pub(super) fn slowdown(&self) -> f64 {
        self.state().slowdown
    }

    pub(super) fn set_backends(&self, backends: Vec<SocketAddr>) {
        self.state().backends = backends;
    }

    /// Each backend in turn; `None` while there is none.
    pub(super) fn next_backend(&self) -> Option<SocketAddr> {
        let mut state = self.state();
        let count = state.backends.len();
        state.next = (state.next + 1) % count.max(1);
        state.backends.get(state.next).copied()
    }

    pub(super) fn is_backend(&self, address: SocketAddr) -> bool {
        self.state().backends.contains(&address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_are_followed_line_by_line_and_a_wrong_one_changes_nothing() {
        let dials = Dials::default();
        dials
            .follow(&b"slowdown 2.5\nslowdown 0\nslowdown fast\n\nfaster\nbackends here\n"[..])
            .await;
        assert_eq!((dials.slowdown(), dials.next_backend()), (2.5, None));
        for (order, part) in [
            ("faster", "no order"),
            ("slowdown nan", "from 0.001"),
            ("backends x", "addresses"),
        ] {
            let wrong = dials.obey(order).unwrap_err();
            assert!(wrong.contains(part), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_file_of_orders_is_followed_whenever_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("orders");
        let dials = Dials::default();
        let obeyed = async |slowdown: f64| {
            while dials.slowdown() != slowdown {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let told = async {
            for slowdown in [3.0, 1.0] {
                std::fs::write(&file, format!("slowdown {slowdown}\n")).unwrap();
                obeyed(slowdown).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(30), told);
        tokio::select! {
            told = told => told.expect("orders are followed"),
            () = dials.follow_file(&file) => unreachable!("it is followed for ever"),
        }
    }

    #[test]
    fn each_backend_gets_its_turn() {
        let dials = Dials::default();
        dials.obey("backends 127.0.0.1:1 127.0.0.1:2").unwrap();
        let turns: Vec<u16> = (0..4)
            .filter_map(|_| dials.next_backend())
            .map(|at| at.port())
            .collect();
        assert_eq!(
            turns.iter().filter(|port| **port == 1).count(),
            2,
            "{turns:?}"
        );
        dials.obey("backends").unwrap();
        assert_eq!(dials.next_backend(), None);
    }
}
