//! What an image is told at its start, as one packet: which layers, whose ids, what it comes from,
//! and bytes of its own. Encoded by the parent, decoded totally by the image, which believes its
//! parent but not its own eyes: a packet that is not whole ends it.

use super::bytes::Bytes;
use super::identity::Ids;
use super::kept::{MAX_KEPT, kept_in_image};
use super::layer::{Layer, Need};
use super::layers::Layers;
use super::namespace::NamespaceId;
use super::spawn::Origin;
use super::wire::Channel;
use super::{InDirectory, Limits, SandboxError};

/// Bytes of its own at most: what is larger is a descriptor's business.
const MAX_BYTES: usize = 64 * 1024;
/// Longest start packet, in bytes.
pub(super) const MAX_PACKET: usize = MAX_BYTES + 1024;
/// Longest name of a process, in bytes.
const MAX_NAME: usize = 64;

/// What an image is told when it begins.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) layers: Layers,
    pub(super) origin: Origin,
    pub(super) bytes: Vec<u8>,
}

impl Start {
    pub(super) fn new(layers: &Layers, origin: Origin, bytes: &[u8]) -> Result<Self, SandboxError> {
        if bytes.len() > MAX_BYTES || layers.keep.len() > MAX_KEPT || layers.name().len() > MAX_NAME
        {
            return Err(SandboxError::Start("its name, bytes or descriptors are too many"));
        }
        Ok(Self { layers: layers.clone(), origin, bytes: bytes.to_vec() })
    }

    /// Waits for the packet; None when the parent is gone or sends another.
    pub(super) fn receive(channel: &Channel) -> Option<(Self, Ids)> {
        let mut packet = vec![0; MAX_PACKET + 1];
        let len = channel.wait(&mut packet)?;
        Self::decode(packet.get(..len).filter(|packet| packet.len() <= MAX_PACKET)?)
    }

    pub(super) fn encode(&self, ids: Ids) -> Vec<u8> {
        let Layers { limits, signals_children, keep, sees, .. } = &self.layers;
        let mut to = vec![ids.number(), u8::from(*signals_children)];
        to.push(sees.map_or(0, InDirectory::number));
        to.extend(Layer::ALL.map(|layer| need_number(self.layers.need(layer))));
        for limit in limits.all() {
            push_option(&mut to, limit);
        }
        to.extend(self.origin.user.to_le_bytes());
        let mounts = self.origin.mounts.map(NamespaceId::parts);
        push_option(&mut to, mounts.map(|(device, _)| device));
        push_option(&mut to, mounts.map(|(_, inode)| inode));
        to.push(u8::try_from(keep.len()).unwrap_or(0));
        to.push(u8::try_from(self.layers.name().len()).unwrap_or(0));
        to.extend(self.layers.name().as_bytes());
        to.extend(&self.bytes);
        to
    }

    pub(super) fn decode(packet: &[u8]) -> Option<(Self, Ids)> {
        let mut rest = Bytes(packet);
        let ids = Ids::from_number(rest.byte()?)?;
        let signals_children = rest.flag()?;
        let sees = match rest.byte()? {
            0 => None,
            number => Some(InDirectory::ALL.into_iter().find(|sees| sees.number() == number)?),
        };
        let mut needs = Vec::new();
        for layer in Layer::ALL {
            needs.push((layer, need_of(rest.byte()?)?));
        }
        let mut limits = [None; 6];
        for limit in &mut limits {
            *limit = rest.option()?;
        }
        let user = u32::from_le_bytes(*rest.take(4)?.first_chunk()?);
        let mounts = match (rest.option()?, rest.option()?) {
            (Some(device), Some(inode)) => Some(NamespaceId::from_parts(device, inode)),
            (None, None) => None,
            _ => return None,
        };
        let kept = usize::from(rest.byte()?);
        let name = usize::from(rest.byte()?);
        if kept > MAX_KEPT || name > MAX_NAME {
            return None;
        }
        let name = std::str::from_utf8(rest.take(name)?).ok()?;
        let bytes = rest.take(rest.0.len()).filter(|bytes| bytes.len() <= MAX_BYTES)?.to_vec();
        let limits = Limits::from_all(limits);
        let kept = kept_in_image(kept);
        let layers = Layers::in_image(name, needs, kept, limits, signals_children, sees);
        Some((Self { layers, origin: Origin { mounts, user }, bytes }, ids))
    }
}

const fn need_number(need: Need) -> u8 {
    match need {
        Need::Required => 1,
        Need::Optional => 2,
        Need::Off => 3,
    }
}

fn need_of(number: u8) -> Option<Need> {
    [Need::Required, Need::Optional, Need::Off].into_iter().find(|n| need_number(*n) == number)
}

fn push_option(to: &mut Vec<u8>, value: Option<u64>) {
    to.push(u8::from(value.is_some()));
    to.extend(value.unwrap_or(0).to_le_bytes());
}

impl Bytes<'_> {
    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A value that may be absent; an absent one is zeros, so that one start has one packet.
    fn option(&mut self) -> Option<Option<u64>> {
        let there = self.flag()?;
        match (there, u64::from_le_bytes(*self.take(8)?.first_chunk()?)) {
            (true, value) => Some(Some(value)),
            (false, 0) => Some(None),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, MAX_PACKET, Origin, Start};
    use crate::identity::Ids;
    use crate::namespace::NamespaceId;
    use crate::{Layer, Layers, Limits};
    use proptest::prelude::*;

    fn start(mounts: Option<NamespaceId>, bytes: &[u8]) -> Start {
        let limits = Limits { open_files: Some(5), file_size: Some(0), ..Limits::NO_CORE };
        let layers = Layers::new("vmm").limits(limits).optional(Layer::Landlock);
        let layers = layers.in_directory("/", crate::InDirectory::Remove);
        let layers = layers.keep(&std::io::stdin()).keep(&std::io::stdout());
        Start::new(&layers, Origin { mounts, user: 1000 }, bytes).unwrap()
    }

    #[test]
    fn start_survives_the_trip_but_for_where_its_descriptors_were() {
        let mounts = NamespaceId::from_parts(4, 0xf000_0000);
        for (mounts, bytes) in [(None, &b""[..]), (Some(mounts), b"bytes of its own")] {
            let sent = start(mounts, bytes);
            let packet = sent.encode(Ids::Own);
            let (got, ids) = Start::decode(&packet).unwrap();
            assert_eq!((ids, &got.bytes[..], got.layers.name()), (Ids::Own, bytes, "vmm"));
            assert_eq!(got.layers.keep, [4, 5]);
            assert_eq!(got.layers.limits, sent.layers.limits);
            assert_eq!(got.layers.sees, sent.layers.sees);
            assert_eq!((got.origin.user, got.origin.mounts), (1000, mounts));
            for layer in Layer::ALL {
                assert_eq!(got.layers.need(layer), sent.layers.need(layer), "{layer}");
            }
            assert_eq!(got.encode(Ids::Own), packet);
        }
    }

    #[test]
    fn start_that_is_too_long_is_refused_and_the_longest_fits() {
        assert!(
            Start::new(&Layers::new("x"), start(None, b"").origin, &vec![0; MAX_BYTES + 1])
                .is_err()
        );
        let longest = start(None, &vec![0; MAX_BYTES]).encode(Ids::Shared);
        assert!(longest.len() <= MAX_PACKET);
        assert!(Start::decode(&longest).is_some());
    }

    /// Also writes the seeds of the fuzz target, where its folder is named.
    #[test]
    fn start_is_a_packet_to_an_image() {
        let packet = start(Some(NamespaceId::from_parts(4, 9)), b"\x01").encode(Ids::Nobody);
        assert_eq!(crate::decode_packet(&packet), crate::Packet::ToImage);
        if let Some(folder) = std::env::var_os("CASEMATE_WRITE_SEEDS") {
            std::fs::write(std::path::Path::new(&folder).join("start"), packet).unwrap();
        }
    }

    #[test]
    fn start_that_is_cut_off_is_none() {
        let packet = start(None, b"").encode(Ids::Nobody);
        for len in 0..packet.len() {
            assert!(Start::decode(packet.get(..len).unwrap()).is_none(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_packet_is_a_start_or_none(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Start::decode(&packet);
        }

        #[test]
        fn what_decodes_encodes_to_the_same(at in 0_usize..100, byte in any::<u8>()) {
            let mut packet = start(None, b"abc").encode(Ids::Nobody);
            let len = packet.len();
            packet[at % len] = byte;
            if let Some((start, ids)) = Start::decode(&packet) {
                prop_assert_eq!(start.encode(ids), packet);
            }
        }
    }
}
