//! Places of which there are only so many: when all are taken, whoever holds most gives way.
//!
//! One more than there may be, and the source that holds most loses its oldest place. Whoever holds places for nothing
//! piles up at the old end of its own source, and whoever takes many in a row pushes itself out. A source with fewer
//! places than another keeps them for as long as it needs, however slow it is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

/// The places.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    most: NonZeroU32,
    held: Arc<Mutex<Held>>,
    /// Nobody is about to leave any more.
    settled: Arc<Notify>,
}

/// Who counts as one: an IPv4 address, or a whole IPv6 /64, in which a single host can have any address it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    V4(u32),
    V6(u64),
}

/// The places of one source by age: the number counts up.
type Ages = BTreeMap<u64, oneshot::Sender<()>>;

/// Orders the sources that hold something: the last one gives way. It holds most, and has the oldest place of those that
/// hold as many.
type Rank = (usize, Reverse<u64>);

#[derive(Debug, Default)]
struct Held {
    next: u64,
    count: usize,
    /// How many were told to give way and are still there.
    leaving: usize,
    by_source: BTreeMap<Source, Ages>,
    by_rank: BTreeMap<Rank, Source>,
}

/// One place, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    source: Source,
    number: u64,
    gives_way: oneshot::Receiver<()>,
}

impl Places {
    pub(crate) fn new(most: NonZeroU32) -> Self {
        Self {
            most,
            held: Arc::default(),
            settled: Arc::default(),
        }
    }

    /// Takes a place; if all are taken, the oldest holder of the source that now holds most is told to give way.
    pub(crate) fn take(&self, source: IpAddr) -> Place {
        let source = Source::of(source);
        let (give_way, gives_way) = oneshot::channel();
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.change(source, |ages| drop(ages.insert(number, give_way)));
        if held.count > self.most.get() as usize
            && let Some((_, &most)) = held.by_rank.last_key_value()
        {
            // Dropping the sender is the message.
            held.change(most, |ages| drop(ages.pop_first()));
            held.leaving += 1;
        }
        drop(held);
        Place {
            places: self.clone(),
            source,
            number,
            gives_way,
        }
    }

    /// Returns once everybody who was told to give way has left. Whoever hands places out waits for it before the next:
    /// else newcomers pile up faster than others get to leave. Cancel safe.
    pub(crate) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.lock().leaving == 0 {
                return;
            }
            settled.await;
        }
    }

    /// A panic elsewhere leaves the counts right: nothing that is done under the lock can panic.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn of(address: IpAddr) -> Self {
        // Else all of IPv4 would be one source to a listener that takes in both.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl Held {
    /// Changes what a source holds. The only way to do so, since count and ranks have to follow.
    fn change(&mut self, source: Source, change: impl FnOnce(&mut Ages)) {
        let ages = self.by_source.entry(source).or_default();
        if let Some(rank) = rank(ages) {
            self.by_rank.remove(&rank);
        }
        self.count -= ages.len();
        change(ages);
        self.count += ages.len();
        match rank(ages) {
            Some(rank) => drop(self.by_rank.insert(rank, source)),
            None => drop(self.by_source.remove(&source)),
        }
    }
}

/// No two sources have the same, since no two places have the same number.
fn rank(ages: &Ages) -> Option<Rank> {
    let (&oldest, _) = ages.first_key_value()?;
    Some((ages.len(), Reverse(oldest)))
}

impl Place {
    /// Returns once a newer holder needs the place. Cancel safe.
    pub(crate) async fn gives_way(&mut self) {
        let _place_taken = (&mut self.gives_way).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        let mut was_told = false;
        held.change(self.source, |ages| {
            was_told = ages.remove(&self.number).is_none()
        });
        if was_told {
            held.leaving -= 1;
            if held.leaving == 0 {
                self.places.settled.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::pin::pin;
    use std::task::Poll;

    use proptest::prelude::*;

    use super::*;

    fn places(most: u32) -> Places {
        Places::new(NonZeroU32::new(most).unwrap())
    }

    fn host(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn v6(text: &str) -> IpAddr {
        text.parse::<Ipv6Addr>().unwrap().into()
    }

    impl Place {
        fn was_told(&mut self) -> bool {
            self.gives_way.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        }
    }

    /// Which of them were told to give way.
    fn told<const N: usize>(places: [&mut Place; N]) -> [bool; N] {
        places.map(Place::was_told)
    }

    #[tokio::test]
    async fn whoever_gives_way_hears_of_it() {
        let places = places(1);
        let mut first = places.take(host(1));
        let mut second = places.take(host(1));
        first.gives_way().await;
        assert!(!second.was_told());
    }

    #[tokio::test]
    async fn it_is_settled_once_all_who_were_told_have_left() {
        let places = places(1);
        let mut held = VecDeque::from([places.take(host(1))]);
        places.settled().await;
        held.extend([places.take(host(1)), places.take(host(2))]);
        let mut settled = pin!(places.settled());
        for _ in 0..2 {
            let now = poll_fn(|cx| Poll::Ready(settled.as_mut().poll(cx))).await;
            assert!(now.is_pending());
            drop(held.pop_front());
        }
        settled.await;
    }

    #[test]
    fn of_one_source_the_oldest_gives_way() {
        let places = places(2);
        let [mut first, mut second, mut third] = [(); 3].map(|()| places.take(host(1)));
        assert_eq!(
            told([&mut first, &mut second, &mut third]),
            [true, false, false]
        );
    }

    #[test]
    fn a_dropped_place_is_free_again() {
        let places = places(2);
        let (first, mut second) = (places.take(host(1)), places.take(host(1)));
        drop(first);
        let mut third = places.take(host(1));
        assert_eq!(told([&mut second, &mut third]), [false, false]);
        // Also if it had been given up before.
        drop([second, third, places.take(host(1)), places.take(host(2))]);
        let held = places.lock();
        assert_eq!(
            (held.count, held.by_source.len(), held.by_rank.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_fast_source_pushes_out_nobody_but_itself() {
        let places = places(4);
        let mut slow = places.take(host(1));
        let mut flood: Vec<Place> = (0..10_000).map(|_| places.take(host(2))).collect();
        assert!(!slow.was_told());
        let stay: Vec<bool> = flood.iter_mut().map(|place| !place.was_told()).collect();
        assert_eq!(stay.iter().filter(|stays| **stays).count(), 3);
        assert!(stay.ends_with(&[true; 3]), "the newest stay");
    }

    #[test]
    fn a_newcomer_gets_in_where_one_source_holds_all() {
        let places = places(4);
        let mut silent = [(); 4].map(|()| places.take(host(1)));
        let mut newcomer = places.take(host(2));
        assert!(!newcomer.was_told());
        assert_eq!(
            silent.each_mut().map(Place::was_told),
            [true, false, false, false]
        );
    }

    #[test]
    fn of_several_that_hold_most_the_one_with_the_oldest_gives_way() {
        let places = places(4);
        let (mut first, mut second) = (places.take(host(1)), places.take(host(2)));
        let (mut second_too, mut first_too) = (places.take(host(2)), places.take(host(1)));
        let mut newcomer = places.take(host(3));
        assert_eq!(told([&mut first, &mut second]), [true, false]);
        assert_eq!(
            told([&mut first_too, &mut second_too, &mut newcomer]),
            [false, false, false]
        );
    }

    #[test]
    fn of_many_sources_with_one_each_the_oldest_gives_way() {
        let places = places(4);
        let mut each = [1, 2, 3, 4, 5].map(|number| places.take(host(number)));
        assert_eq!(
            each.each_mut().map(Place::was_told),
            [true, false, false, false, false]
        );
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let places = places(3);
        let mut neighbour = places.take(v6("2001:db8:0:1::1"));
        let mut many =
            ["2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8::2"].map(|ip| places.take(v6(ip)));
        assert!(!neighbour.was_told());
        assert_eq!(many.each_mut().map(Place::was_told), [true, false, false]);
    }

    #[test]
    fn an_ipv4_client_of_a_dual_stack_listener_is_its_ipv4_address() {
        let mapped = |number| Ipv4Addr::new(10, 0, 0, number).to_ipv6_mapped().into();
        let places = places(2);
        let mut slow = places.take(mapped(1));
        let mut other = [mapped(2), host(2)].map(|ip| places.take(ip));
        assert!(!slow.was_told());
        assert_eq!(other.each_mut().map(Place::was_told), [true, false]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(u8),
        Drop(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u8..6).prop_map(Step::Take),
            1 => any::<usize>().prop_map(Step::Drop),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against a list that is searched from end to end.
        #[test]
        fn no_more_stay_than_may_and_whoever_goes_is_of_a_source_that_holds_most(
            most in 1_u32..8,
            steps in steps(),
        ) {
            let places = places(most);
            let mut open: Vec<(u8, Place)> = Vec::new();
            let mut gone = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Take(source) => open.push((source, places.take(host(source)))),
                    Step::Drop(_) if open.is_empty() => {}
                    Step::Drop(at) => drop(open.remove(at % open.len())),
                }
                let stayed: Vec<(u8, u64)> = open
                    .iter()
                    .map(|(source, place)| (*source, place.number))
                    .filter(|(_, number)| !gone.contains(number))
                    .collect();
                let holds = |source| stayed.iter().filter(|(of, _)| *of == source).count();
                let expected = (stayed.len() > most as usize).then(|| {
                    let most = stayed.iter().map(|(source, _)| holds(*source)).max();
                    let victim = stayed.iter().find(|(source, _)| Some(holds(*source)) == most);
                    victim.expect("somebody holds most").1
                });
                let now: Vec<u64> = open
                    .iter_mut()
                    .filter(|(_, place)| !gone.contains(&place.number))
                    .filter_map(|(_, place)| place.was_told().then_some(place.number))
                    .collect();
                prop_assert_eq!(&now, &Vec::from_iter(expected));
                gone.extend(now);
                prop_assert_eq!(places.lock().count, stayed.len() - usize::from(expected.is_some()));
            }
            drop(open);
            let held = places.lock();
            prop_assert_eq!((held.count, held.by_source.len(), held.by_rank.len()), (0, 0, 0));
        }
    }
}
