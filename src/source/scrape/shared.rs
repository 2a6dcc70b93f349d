//! What all scrape loops share: room for pages, and TLS configurations. Thousands of targets are read by a bounded
//! number of scrapes at once, so memory depends on these limits and not on how many targets there are. A slot is taken
//! only when a page is about to arrive: targets that do not answer hold none, and cannot delay those that do.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::exposition::Format;
use crate::source::reach::Reach;
use crate::source::secret::SecretStore;
use crate::source::tls::ClientConfigs;

/// Pages being received or read at once. A page takes a few milliseconds on a cluster's network, so this is room for
/// tens of thousands of scrapes a second; each may hold [`LARGE_PAGE_BYTES`].
pub const PAGES_AT_ONCE: usize = 256;

/// A page larger than this waits for one of [`LARGE_PAGES_AT_ONCE`]. Common pages have 10 to 500 KB.
pub const LARGE_PAGE_BYTES: usize = 1024 * 1024;

/// Large pages being received or read at once: with the default limit of 16 MiB a page, 128 MiB.
pub const LARGE_PAGES_AT_ONCE: usize = 8;

/// Buffers kept for the next pages. More than are in use at once in a steady state.
const BUFFERS_KEPT: usize = 8;

/// A larger buffer is not kept, so that an idle adapter holds at most 2 MiB for pages.
const BUFFER_BYTES_KEPT: usize = 256 * 1024;

/// Shared by every scrape loop of the process.
#[derive(Debug)]
pub struct Shared {
    /// TLS configurations.
    pub(super) tls: ClientConfigs,
    /// Who may be connected to.
    pub(super) reach: Reach,
    /// Values of Kubernetes Secrets.
    pub(super) secrets: SecretStore,
    slots: Semaphore,
    large_slots: Semaphore,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// A page, whole and unpacked. Its memory and its slot go back when it is dropped.
#[derive(Debug)]
pub struct Page<'s> {
    /// The page itself.
    pub bytes: Vec<u8>,
    /// The text format it is in.
    pub format: Format,
    shared: &'s Shared,
    large_slot: Option<SemaphorePermit<'s>>,
    _slot: SemaphorePermit<'s>,
}

impl Shared {
    /// Room for [`PAGES_AT_ONCE`] pages; Kubernetes Secrets are taken from `secrets`.
    pub fn new(secrets: SecretStore) -> Self {
        Self {
            tls: ClientConfigs::new(secrets.clone()),
            reach: Reach::anywhere(),
            secrets,
            ..Self::with_room_for(PAGES_AT_ONCE)
        }
    }

    /// Room for `pages` at once, and no Kubernetes Secrets.
    pub fn with_room_for(pages: usize) -> Self {
        Self {
            tls: ClientConfigs::default(),
            reach: Reach::anywhere(),
            secrets: SecretStore::default(),
            slots: Semaphore::new(pages),
            large_slots: Semaphore::new(LARGE_PAGES_AT_ONCE.min(pages)),
            buffers: Mutex::default(),
        }
    }

    /// The same, connecting only to whom `reach` allows.
    #[must_use]
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Bytes held for the next pages while nothing is scraped.
    pub fn idle_bytes(&self) -> usize {
        self.lock_buffers().iter().map(Vec::capacity).sum()
    }

    /// An empty page, as soon as there is room for one.
    pub(super) async fn page(&self, format: Format) -> Page<'_> {
        let slot = self.slots.acquire().await.expect("slots are never closed");
        Page {
            bytes: self.lock_buffers().pop().unwrap_or_default(),
            format,
            shared: self,
            large_slot: None,
            _slot: slot,
        }
    }

    fn lock_buffers(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::with_room_for(PAGES_AT_ONCE)
    }
}

impl Page<'_> {
    /// Waits until the page may have `bytes`. Large pages wait for each other; small ones never wait for them, and who
    /// holds a large slot waits for nobody, so this cannot lock up.
    pub(super) async fn room_for(&mut self, bytes: usize) {
        if LARGE_PAGE_BYTES < bytes && self.large_slot.is_none() {
            let slot = self.shared.large_slots.acquire().await;
            self.large_slot = Some(slot.expect("slots are never closed"));
        }
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        if self.bytes.capacity() == 0 || BUFFER_BYTES_KEPT < self.bytes.capacity() {
            return;
        }
        let mut buffers = self.shared.lock_buffers();
        if buffers.len() < BUFFERS_KEPT {
            self.bytes.clear();
            buffers.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn page(shared: &Shared) -> Option<Page<'_>> {
        shared.page(Format::Text).now_or_never()
    }

    #[test]
    fn a_page_waits_for_a_slot_and_gives_it_back() {
        let shared = Shared::with_room_for(2);
        let (first, second) = (page(&shared), page(&shared));
        assert!(page(&shared).is_none());
        drop(first);
        assert!(page(&shared).is_some());
        drop(second);
    }

    #[test]
    fn a_buffer_is_used_again_and_starts_empty() {
        let shared = Shared::default();
        let mut first = page(&shared).unwrap();
        first.bytes.extend_from_slice(b"up 1\n");
        let memory = first.bytes.as_ptr();
        drop(first);
        let second = page(&shared).unwrap();
        assert_eq!(second.bytes.as_ptr(), memory);
        assert!(second.bytes.is_empty());
    }

    #[test]
    fn idle_memory_is_bounded() {
        let shared = Shared::default();
        let mut pages: Vec<_> = (0..PAGES_AT_ONCE).filter_map(|_| page(&shared)).collect();
        assert_eq!(pages.len(), PAGES_AT_ONCE);
        for (n, page) in pages.iter_mut().enumerate() {
            let large = n % 2 == 0;
            page.bytes.reserve_exact(if large {
                BUFFER_BYTES_KEPT + 1
            } else {
                BUFFER_BYTES_KEPT
            });
        }
        drop(pages);
        assert_eq!(shared.idle_bytes(), BUFFERS_KEPT * BUFFER_BYTES_KEPT);
    }

    #[test]
    fn large_pages_wait_for_each_other_and_small_ones_do_not() {
        let shared = Shared::default();
        let mut pages: Vec<_> = (0..=LARGE_PAGES_AT_ONCE)
            .filter_map(|_| page(&shared))
            .collect();
        let mut last = pages.pop().unwrap();
        for page in &mut pages {
            assert!(page.room_for(LARGE_PAGE_BYTES + 1).now_or_never().is_some());
        }
        assert!(last.room_for(LARGE_PAGE_BYTES + 1).now_or_never().is_none());
        assert!(last.room_for(LARGE_PAGE_BYTES).now_or_never().is_some());
        // One that has its slot grows without asking again.
        assert!(
            pages[0]
                .room_for(2 * LARGE_PAGE_BYTES)
                .now_or_never()
                .is_some()
        );
        pages.pop();
        assert!(last.room_for(LARGE_PAGE_BYTES + 1).now_or_never().is_some());
    }
}
