//! Streams of xz, as a reader: what kernels' packages and modules are compressed with.

use std::io::{BufRead, Error, ErrorKind, Read, Result};
use xz4rust::{XzDecoder, XzNextBlockResult};

/// How a stream begins (The .xz File Format, 2.1.1.1).
pub const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
/// Largest dictionary: that of `xz -9`. A header can ask for 4 GiB.
const DICTIONARY: usize = 64 << 20;

/// Streams in a row, with the zeros that may lie between them, are one.
pub struct Xz<R> {
    source: R,
    decoder: Box<XzDecoder<'static>>,
    /// Behind a stream: what comes next is zeros, another stream, or the end.
    between: bool,
}

impl<R: BufRead> Xz<R> {
    pub fn new(source: R) -> Self {
        let decoder = Box::new(XzDecoder::with_alloc_dict_size(1 << 16, DICTIONARY));
        Self { source, decoder, between: false }
    }

    /// Skips to the next stream; false at the end.
    fn next_stream(&mut self) -> Result<bool> {
        loop {
            let rest = self.source.fill_buf()?;
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            match rest.get(zeros) {
                None if rest.is_empty() => return Ok(false),
                None => self.source.consume(zeros),
                Some(byte) if *byte == MAGIC[0] => {
                    self.source.consume(zeros);
                    self.decoder.reset();
                    self.between = false;
                    return Ok(true);
                }
                Some(_) => {
                    return Err(Error::new(ErrorKind::InvalidData, "bytes follow the xz stream"));
                }
            }
        }
    }
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.between && !self.next_stream()? {
                return Ok(0);
            }
            let input = self.source.fill_buf()?;
            if input.is_empty() {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the xz stream was cut off"));
            }
            let done = self.decoder.decode(input, buffer);
            let done = done.map_err(|e| Error::new(ErrorKind::InvalidData, e.to_string()))?;
            let (read, written) = (done.input_consumed(), done.output_produced());
            self.source.consume(read);
            self.between = matches!(done, XzNextBlockResult::EndOfStream(..));
            if written > 0 {
                return Ok(written);
            }
            if !self.between && read == 0 {
                let why = "the xz stream makes its decoder stand still";
                return Err(Error::new(ErrorKind::InvalidData, why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Xz;
    use std::io::{BufReader, Read, Write};
    use std::process::{Command, Stdio};

    /// What `xz` makes of these bytes.
    fn xz(options: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut xz = Command::new("xz");
        let xz = xz.args(options).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut xz = xz.spawn().unwrap();
        let (mut to, bytes) = (xz.stdin.take().unwrap(), bytes.to_vec());
        let writer = std::thread::spawn(move || to.write_all(&bytes).unwrap());
        let output = xz.wait_with_output().unwrap();
        writer.join().unwrap();
        output.stdout
    }

    fn read(bytes: &[u8], buffer: usize) -> std::io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Xz::new(BufReader::with_capacity(buffer, bytes)).read_to_end(&mut all)?;
        Ok(all)
    }

    /// Protects against a reader that gives less than there is, or something else: the checks of
    /// the kinds that packages (CRC64) and modules (CRC32) have included.
    #[test]
    fn what_xz_wrote_is_read_back_and_what_was_changed_or_cut_off_is_not() {
        let plain: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7 * 31).to_le_bytes()).collect();
        let one = xz(&["--check=crc32", "--lzma2=dict=1MiB"], &plain);
        let two = xz(&["-1"], b"second");
        for buffer in [1, 100, 1 << 16] {
            assert_eq!(read(&one, buffer).unwrap(), plain);
        }
        let joined = [&one[..], &[0; 8], &two].concat();
        assert_eq!(read(&joined, 4096).unwrap(), [&plain[..], b"second"].concat());
        assert!(read(&[&two[..], b"x"].concat(), 4096).is_err());
        for end in (0..two.len()).chain([one.len() / 2, one.len() - 1]) {
            let cut = if end < two.len() { &two[..end] } else { &one[..end] };
            assert!(read(cut, 4096).is_err(), "{end}");
        }
        let mut changed = one.clone();
        changed[one.len() / 2] ^= 1;
        assert!(read(&changed, 4096).is_err());
    }
}
