//! The device: words in, the same words out.

use crate::backend::Host;
use crate::request::parse;
use casemate_device_backend::{Device, Turn};
use casemate_device_queue::{GuestMemory, Request};

/// A device that says back what it is told.
#[derive(Debug, Default)]
pub struct Echo<H> {
    /// The host's side, which hears every word.
    pub host: H,
}

impl<H: Host> Device for Echo<H> {
    type Lane = ();

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn queues(&self) -> u16 {
        1
    }

    fn burst(&self) -> u16 {
        16
    }

    fn lane(&self) {}

    fn answer<M: GuestMemory>(
        &self,
        (): &mut (),
        _: &Turn<'_>,
        mut request: Request<'_, M>,
    ) -> u32 {
        let Some(said) = parse(&mut request.readable) else { return 0 };
        self.host.hear(said.bytes());
        request.writable.put(said.bytes()).unwrap_or(0)
    }
}
