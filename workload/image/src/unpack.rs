//! A layer as it travels: a tar stream, plain or compressed by gzip, xz or zstd.

use crate::hashed::{Digest, Hashed};
use crate::tar::{EndMark, EntryKind, Reader};
use crate::{Content, Dropped, ImageError, Layer, Spool, Tree, xz};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::{BufRead, BufReader, Read};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What may follow the end of a tar stream: writers fill up their last record, of 10 KiB by
/// default.
pub(crate) const MAX_PADDING: u64 = 16 << 20;

/// Applies the layer in `stream` to `tree` as layer `number`, counted from 1, with its files'
/// contents in `spool`. Gives what was left out.
///
/// What a stream decompresses to is bounded by the tree's and the spool's limits, entry by entry: a
/// bomb ends as an error when the limit is reached, whatever it would have become.
///
/// # Errors
/// [`ImageError`] with the entry's path or the header's offset.
pub fn unpack(
    stream: impl Read,
    tree: &mut Tree,
    spool: &mut Spool,
    number: u32,
) -> Result<Dropped, ImageError> {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    entries(&mut Reader::new(decompress(&mut stream)?, EndMark::Needed), tree, spool, number)
}

/// The same for a layer whose uncompressed bytes must have this digest.
pub(crate) fn proven(
    stream: impl Read,
    tree: &mut Tree,
    spool: &mut Spool,
    number: u32,
    uncompressed: Digest,
) -> Result<Dropped, ImageError> {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut reader = Reader::new(Hashed::new(decompress(&mut stream)?), EndMark::Optional);
    let dropped = entries(&mut reader, tree, spool, number)?;
    let proven = reader.into_source().finish_within(uncompressed, MAX_PADDING);
    proven.map_err(|why| ImageError::Compression(std::io::Error::other(why)))?;
    Ok(dropped)
}

fn entries<R: Read>(
    reader: &mut Reader<R>,
    tree: &mut Tree,
    spool: &mut Spool,
    number: u32,
) -> Result<Dropped, ImageError> {
    let mut layer = Layer::new(tree, number);
    while let Some(entry) = reader.next_entry()? {
        let content = match entry.kind {
            EntryKind::File => spool.take(&mut reader.content(), entry.size)?,
            _ => Content::EMPTY,
        };
        layer.apply(entry, content)?;
    }
    Ok(layer.dropped())
}

/// The stream itself, decompressed by what its first bytes say.
pub(crate) fn decompress<'r, R: Read>(
    stream: &'r mut BufReader<R>,
) -> Result<Box<dyn Read + 'r>, ImageError> {
    let start = stream.fill_buf().map_err(ImageError::Compression)?;
    Ok(if start.starts_with(&GZIP) {
        // Several members in a row are one stream (RFC 1952, 2.2): eStargz is made so.
        Box::new(flate2::bufread::MultiGzDecoder::new(stream))
    } else if start.starts_with(&ZSTD) {
        Box::new(Frames { source: Some(stream), frame: None })
    } else if start.starts_with(&xz::MAGIC) {
        Box::new(xz::Xz::new(stream))
    } else {
        Box::new(stream)
    })
}

/// Frames of zstd in a row (RFC 8878, 3.1), those that are to be skipped included: zstd:chunked is
/// made so, and parallel compressors write several.
struct Frames<'r, R: Read> {
    source: Option<&'r mut BufReader<R>>,
    frame: Option<StreamingDecoder<&'r mut BufReader<R>, FrameDecoder>>,
}

impl<R: Read> Read for Frames<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let got = frame.read(buffer)?;
                if got > 0 || buffer.is_empty() {
                    return Ok(got);
                }
                self.source = self.frame.take().map(StreamingDecoder::into_inner);
            }
            let Some(source) = self.source.take() else { return Ok(0) };
            if !more_frames(source)? {
                return Ok(0);
            }
            let frame = StreamingDecoder::new(source)
                .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string()))?;
            self.frame = Some(frame);
        }
    }
}

/// Skips what is to be skipped; false at the end of the stream.
fn more_frames(source: &mut BufReader<impl Read>) -> std::io::Result<bool> {
    while !source.fill_buf()?.is_empty() {
        // Magic numbers 0x184D2A50 to 0x184D2A5F, then a length of four bytes.
        let mut head = [0; 8];
        let buffered = source.buffer();
        let Some(start) = buffered.first_chunk::<8>() else { return Ok(true) };
        head.copy_from_slice(start);
        let [a, b, c, d, length @ ..] = head;
        if (a & 0xf0, [b, c, d]) != (0x50, [0x2a, 0x4d, 0x18]) {
            return Ok(true);
        }
        source.consume(8);
        let length = u64::from(u32::from_le_bytes(length));
        let skipped = std::io::copy(&mut source.by_ref().take(length), &mut std::io::sink())?;
        if skipped < length {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(false)
}
