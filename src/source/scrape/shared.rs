//! What all scrape loops share: room for pages, and TLS configurations. Thousands of targets are read by a bounded
//! number of scrapes at once, so memory depends on these limits and not on how many targets there are. A slot is taken
//! only when a page is about to arrive: targets that do not answer hold none, and cannot delay those that do. Those that
//! answer drop by drop hold a slot each, so one namespace may have only a share of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

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

/// One of so many slots, of either kind, is what one namespace may hold: a quarter. A page of its takes as long as the
/// tenant's pods make it take, up to the timeout, and it would else be the other namespaces' scrapes that time out.
const SHARES: usize = 4;

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
    slots_in_all: usize,
    shares: Mutex<HashMap<Arc<str>, Weak<Share>>>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// What one namespace may hold of the slots. It lives as long as a target of the namespace does.
#[derive(Debug)]
pub(super) struct Share {
    slots: Arc<Semaphore>,
    large_slots: Arc<Semaphore>,
}

/// A page, whole and unpacked. Its memory and its slot go back when it is dropped.
#[derive(Debug)]
pub struct Page<'s> {
    /// The page itself.
    pub bytes: Vec<u8>,
    /// The text format it is in.
    pub format: Format,
    shared: &'s Shared,
    share: Arc<Share>,
    large_slot: Option<Slot<'s>>,
    _slot: Slot<'s>,
}

/// One of all slots, and one of its namespace's.
#[derive(Debug)]
struct Slot<'s> {
    _own: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'s>,
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
            slots_in_all: pages,
            shares: Mutex::default(),
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

    /// What the targets of `namespace` may hold. Keep it for as long as pages are asked for.
    pub(super) fn share(&self, namespace: &Arc<str>) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(namespace).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| 0 < share.strong_count());
        let of = |slots: usize| Arc::new(Semaphore::new(slots.div_ceil(SHARES)));
        let share = Arc::new(Share {
            slots: of(self.slots_in_all),
            large_slots: of(LARGE_PAGES_AT_ONCE.min(self.slots_in_all)),
        });
        shares.insert(Arc::clone(namespace), Arc::downgrade(&share));
        share
    }

    /// An empty page, as soon as there is room for one.
    pub(super) async fn page(&self, format: Format, share: &Arc<Share>) -> Page<'_> {
        let slot = Slot::take(&share.slots, &self.slots).await;
        Page {
            bytes: self.lock_buffers().pop().unwrap_or_default(),
            format,
            shared: self,
            share: Arc::clone(share),
            large_slot: None,
            _slot: slot,
        }
    }

    fn lock_buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
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
            let slot = Slot::take(&self.share.large_slots, &self.shared.large_slots).await;
            self.large_slot = Some(slot);
        }
    }
}

impl<'s> Slot<'s> {
    /// The namespace's own comes first: whoever waits for it holds none of the others'.
    async fn take(own: &Arc<Semaphore>, of_all: &'s Semaphore) -> Self {
        let own = Arc::clone(own).acquire_owned().await;
        let of_all = of_all.acquire().await;
        Self {
            _own: own.expect("slots are never closed"),
            _of_all: of_all.expect("slots are never closed"),
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

    /// A page of the `n`th namespace.
    fn page_of(shared: &Shared, n: usize) -> Option<Page<'_>> {
        let share = shared.share(&n.to_string().into());
        shared.page(Format::Text, &share).now_or_never()
    }

    fn page(shared: &Shared) -> Option<Page<'_>> {
        page_of(shared, 0)
    }

    #[test]
    fn a_page_waits_for_a_slot_and_gives_it_back() {
        let shared = Shared::with_room_for(2);
        let (first, second) = (page_of(&shared, 0), page_of(&shared, 1));
        assert!(page_of(&shared, 2).is_none());
        drop(first);
        assert!(page_of(&shared, 2).is_some());
        drop(second);
    }

    #[test]
    fn a_namespace_whose_pages_never_end_leaves_room_for_the_others() {
        let shared = Shared::default();
        let mut endless: Vec<_> = std::iter::from_fn(|| page_of(&shared, 0)).collect();
        assert_eq!(endless.len(), PAGES_AT_ONCE / SHARES);
        let large = |page: &mut Page<'_>| page.room_for(LARGE_PAGE_BYTES + 1).now_or_never();
        let is_large = endless.iter_mut().filter_map(large).count();
        assert_eq!(is_large, LARGE_PAGES_AT_ONCE / SHARES);
        let mut other = page_of(&shared, 1).expect("room for another namespace");
        assert!(large(&mut other).is_some());
        drop(endless);
        assert!(page_of(&shared, 0).is_some());
    }

    #[test]
    fn a_share_that_nobody_holds_is_forgotten() {
        let shared = Shared::default();
        let first = shared.share(&"a".into());
        assert!(Arc::ptr_eq(&first, &shared.share(&"a".into())));
        drop(first);
        let _other = shared.share(&"b".into());
        assert_eq!(shared.shares.lock().unwrap().len(), 1);
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
        let mut pages: Vec<_> = (0..PAGES_AT_ONCE)
            .filter_map(|n| page_of(&shared, n))
            .collect();
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
            .filter_map(|n| page_of(&shared, n))
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
