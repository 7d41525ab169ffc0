//! The serial port: a 16550A (vm-superio) on the bus.

use crate::bus::{BusDevice, Effect};
use crate::devices::ConsoleQueue;
use crate::event::Event;
use std::convert::Infallible;
use vm_superio::serial::SerialEvents;
use vm_superio::{Serial, Trigger};

/// An interrupt line, by irqfd.
#[derive(Debug)]
pub struct Line(Event);

impl Trigger for Line {
    type E = Infallible;
    fn trigger(&self) -> Result<(), Infallible> {
        self.0.signal();
        Ok(())
    }
}

/// Tells the console's reader that the guest has taken all input.
#[derive(Debug)]
pub struct Drained(Event);

impl SerialEvents for Drained {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}
    fn in_buffer_empty(&self) {
        self.0.signal();
    }
}

/// The serial port, a 16550A, and the queue behind it.
pub struct Uart(Serial<Line, Drained, ConsoleQueue>);

impl std::fmt::Debug for Uart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Uart")
    }
}

impl Uart {
    /// A port that writes to `output`, interrupts by `line` and signals `drained` when it wants
    /// more input.
    #[must_use]
    pub fn new(line: Event, drained: Event, output: ConsoleQueue) -> Self {
        Self(Serial::with_events(Line(line), Drained(drained), output))
    }

    /// Input bytes that fit now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.0.fifo_capacity()
    }

    /// Gives the guest input; returns how many bytes fitted.
    pub fn input(&mut self, bytes: &[u8]) -> usize {
        self.0.enqueue_raw_bytes(bytes).unwrap_or(0)
    }
}

impl BusDevice for Uart {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        // Registers are bytes; a wider access reads one and leaves the rest floating.
        data.fill(0xff);
        if let (Some(byte), Ok(offset)) = (data.first_mut(), u8::try_from(offset)) {
            *byte = self.0.read(offset);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if let (Some(byte), Ok(offset)) = (data.first(), u8::try_from(offset)) {
            // An error is a full queue or a lost interrupt: the guest's console, not ours to fail
            // over.
            let _ = self.0.write(offset, *byte);
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uart() -> (Uart, ConsoleQueue) {
        let event = || Event::new().unwrap();
        let queue = ConsoleQueue::new(event(), 1);
        (Uart::new(event(), event(), queue.clone()), queue)
    }

    #[test]
    fn bytes_written_by_the_guest_come_out_in_order() {
        let (mut uart, queue) = uart();
        for byte in b"ok\n" {
            assert_eq!(uart.write(0, &[*byte]), Effect::None);
        }
        let mut out = [0; 8];
        assert_eq!(queue.take(&mut out), 3);
        assert_eq!(&out[..3], b"ok\n");
    }

    #[test]
    fn input_is_bounded_by_the_fifo() {
        let (mut uart, _) = uart();
        let room = uart.room();
        assert_eq!(uart.input(&[b'a'; 1000]), room);
        let mut byte = [0];
        uart.read(0, &mut byte);
        assert_eq!(byte, *b"a");
    }
}
