//! What is decided about a device whose process is gone, on its way from the supervisor's message
//! to the thread that talks to the device.

use crate::event::Event;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What becomes of a device whose process is dead: the supervisor has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Its standby goes on where it was.
    TakeOver,
    /// The guest goes on without it.
    Keep,
}

/// Orders that wait; whoever gives one does not wait for it to be carried out. Clones are the same.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Devices to be taken over, devices to be kept: a bit each.
    waiting: Arc<[AtomicU32; 2]>,
    /// Of each device, in the order of their numbers.
    wakes: Arc<[Event]>,
}

/// Devices that there can be orders for: a bit each.
pub(super) const MOST: usize = 32;

impl Orders {
    /// None; a device's wake is signalled when there is one for it.
    pub(super) fn new(wakes: Arc<[Event]>) -> Self {
        Self { waiting: Arc::default(), wakes }
    }

    /// Gives an order; a device that there is not has none.
    pub fn give(&self, device: u8, order: Order) {
        let [take_over, keep] = &*self.waiting;
        let slot = match order {
            Order::TakeOver => take_over,
            Order::Keep => keep,
        };
        let bit = 1_u32.checked_shl(device.into()).unwrap_or(0);
        slot.fetch_or(bit, Ordering::SeqCst);
        if let Some(wake) = self.wakes.get(usize::from(device)) {
            wake.signal();
        }
    }

    /// Takes what waits for a device.
    pub(super) fn take(&self, device: u8) -> Option<Order> {
        let [take_over, keep] = &*self.waiting;
        let bit = 1_u32.checked_shl(device.into()).unwrap_or(0);
        let taken = |slot: &AtomicU32| slot.fetch_and(!bit, Ordering::SeqCst) & bit != 0;
        match (taken(keep), taken(take_over)) {
            (true, _) => Some(Order::Keep),
            (false, true) => Some(Order::TakeOver),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Orders};
    use crate::event::Event;

    #[test]
    fn an_order_is_taken_once_and_by_its_device() {
        let wakes: Vec<Event> = (0..8).map(|_| Event::new().unwrap()).collect();
        let orders = Orders::new(wakes.clone().into());
        orders.give(3, Order::TakeOver);
        let woken: Vec<u64> = wakes.iter().map(Event::take).collect();
        assert_eq!(woken, [0, 0, 0, 1, 0, 0, 0, 0]);
        orders.give(200, Order::Keep);
        assert_eq!(orders.take(2), None);
        assert_eq!(orders.take(3), Some(Order::TakeOver));
        assert_eq!(orders.take(3), None);
        orders.give(7, Order::Keep);
        assert_eq!(orders.take(7), Some(Order::Keep));
        assert_eq!(orders.take(200), None);
    }
}
