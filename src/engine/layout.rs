//! Bucket layouts: the bounds of a histogram, shared by all that have the same ones.

use std::sync::Arc;

/// How many different layouts one service keeps. A fleet has one or two, three during a rollout; a target that makes
/// up new bounds with every scrape must not fill the memory.
const LAYOUTS_MAX: usize = 64;

/// Ascending upper bounds in seconds, the last `+Inf`; empty for requests that were counted but not bucketed.
pub type Layout = Arc<[f64]>;

/// Every layout seen, so that equal ones are one allocation and are compared by pointer.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    known: Vec<Layout>,
}

impl Layouts {
    /// The shared layout equal to `bounds`; `None` when there are too many already.
    pub(super) fn intern(&mut self, bounds: &[f64]) -> Option<Layout> {
        if let Some(layout) = self.known.iter().find(|layout| layout.as_ref() == bounds) {
            return Some(Arc::clone(layout));
        }
        if LAYOUTS_MAX <= self.known.len() {
            self.known.retain(|layout| 1 < Arc::strong_count(layout));
        }
        if LAYOUTS_MAX <= self.known.len() {
            return None;
        }
        let layout: Layout = bounds.into();
        self.known.push(Arc::clone(&layout));
        Some(layout)
    }
}

/// Whether `bounds` can be a layout: strictly ascending, no NaN, and `+Inf` last where there are any.
pub(super) fn is_sound(bounds: &[f64]) -> bool {
    bounds.windows(2).all(|pair| pair[0] < pair[1])
        && bounds.last().is_none_or(|last| *last == f64::INFINITY)
}

/// Whether `bounds` are those of `layout` and more, so that what was counted on `layout` can be told on `bounds`.
pub(super) fn extends(bounds: &[f64], layout: &Layout) -> bool {
    !layout.is_empty()
        && layout.len() < bounds.len()
        && layout.iter().all(|bound| bounds.contains(bound))
}

/// The bounds that all layouts have. A cumulative count is exact at each of its own bounds, so counts of different
/// layouts may be added where both have a bound, and nowhere else: between two bounds one could only guess.
pub(super) fn common(layouts: &[Layout]) -> Layout {
    let Some((first, others)) = layouts.split_first() else {
        return Arc::from([]);
    };
    if others.iter().all(|other| Arc::ptr_eq(first, other)) {
        return Arc::clone(first);
    }
    let has =
        |layout: &Layout, bound: f64| layout.binary_search_by(|b| b.total_cmp(&bound)).is_ok();
    first
        .iter()
        .copied()
        .filter(|bound| others.iter().all(|other| has(other, *bound)))
        .collect()
}

/// Adds `counts`, which lie on `from`, to `sums`, which lie on `onto`; every bound of `onto` is one of `from`.
pub(super) fn add_counts(from: &Layout, counts: &[f64], onto: &Layout, sums: &mut [f64]) {
    if Arc::ptr_eq(from, onto) {
        sums.iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
        return;
    }
    let mut counts = from.iter().zip(counts);
    for (bound, sum) in onto.iter().zip(sums) {
        if let Some((_, count)) = counts.by_ref().find(|(from_bound, _)| *from_bound == bound) {
            *sum += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn counts_of_different_layouts_are_added_on_their_common_bounds() {
        let (fine, coarse): (Layout, Layout) = (
            Arc::from([0.1, 0.25, 0.5, INF]),
            Arc::from([0.25, 1.0, INF]),
        );
        let both = common(&[Arc::clone(&fine), Arc::clone(&coarse)]);
        assert_eq!(both.as_ref(), [0.25, INF]);
        let mut sums = vec![0.0; 2];
        add_counts(&fine, &[1.0, 2.0, 3.0, 4.0], &both, &mut sums);
        add_counts(&coarse, &[10.0, 20.0, 30.0], &both, &mut sums);
        assert_eq!(sums, [12.0, 34.0]);
    }

    #[test]
    fn equal_bounds_are_one_allocation() {
        let mut layouts = Layouts::default();
        let (a, b) = (
            layouts.intern(&[1.0, INF]).unwrap(),
            layouts.intern(&[1.0, INF]).unwrap(),
        );
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn layouts_nobody_uses_make_room_for_new_ones() {
        let mut layouts = Layouts::default();
        let kept = layouts.intern(&[0.5, INF]).unwrap();
        for i in 0..10 * LAYOUTS_MAX {
            assert!(layouts.intern(&[1.0 + i as f64, INF]).is_some());
        }
        assert!(Arc::ptr_eq(&kept, &layouts.intern(&[0.5, INF]).unwrap()));
    }

    #[test]
    fn a_layout_ascends_and_ends_in_infinity() {
        assert!(is_sound(&[0.1, INF]) && is_sound(&[]));
        assert!(
            !is_sound(&[0.1, 0.2]) && !is_sound(&[0.2, 0.1, INF]) && !is_sound(&[f64::NAN, INF])
        );
    }
}
