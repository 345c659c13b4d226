//! Where a string or a container ends, found 64 bytes at a time.
//!
//! For each block there is a mask for each kind of byte that counts, the first byte lowest. Which bytes stand within
//! strings follows from the quotes alone: each turns that on or off for all bytes after it.

use wide::u8x16;

/// The length of a block: one bit of a mask for each byte.
const BLOCK: usize = 64;

/// The end of a container, as a position after its closing bracket.
pub(super) fn container_end(text: &[u8], after_opening: usize) -> Option<usize> {
    let mut strings = Strings::default();
    let mut depth: u32 = 1;
    let mut at = after_opening;
    while let Some(block) = block(text, at) {
        let either = |byte| mask(&block, |bytes| (bytes | u8x16::splat(0x20)).simd_eq(u8x16::splat(byte)));
        let outside = !strings.within(equal(&block, b'"'), equal(&block, b'\\'));
        // `[` and `{` differ in one bit, as do `]` and `}`.
        let (opening, mut closing) = (either(b'{') & outside, either(b'}') & outside);
        if opening | closing != 0 {
            let closed = closing.count_ones();
            if closed >= depth {
                // It may end here: behind the closing bracket that leaves none open.
                for seen in 1..=closed {
                    let bit = closing.trailing_zeros();
                    let before = opening & ((1 << bit) - 1);
                    if depth + before.count_ones() == seen {
                        return Some(at + bit as usize + 1);
                    }
                    closing &= closing - 1;
                }
            }
            depth = depth + opening.count_ones() - closed;
        }
        at += BLOCK;
    }
    None
}

/// The end of a string, as a position after its closing quote, looked for from a place within it where nothing is
/// escaped.
pub(super) fn string_end(text: &[u8], within: usize) -> Option<usize> {
    let mut strings = Strings::default();
    let mut at = within;
    while let Some(block) = block(text, at) {
        let escaped = strings.escaped(equal(&block, b'\\'));
        let quotes = equal(&block, b'"') & !escaped;
        if quotes != 0 {
            return Some(at + quotes.trailing_zeros() as usize + 1);
        }
        at += BLOCK;
    }
    None
}

/// The first byte of a string that is not just itself: its closing quote, a backslash, or a control character, which must
/// not stand in a string.
#[inline]
pub(super) fn plain_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(block) = text.get(at..)?.first_chunk() {
        let bytes = u8x16::new(*block);
        let quotes = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
        let found = (quotes | bytes.simd_lt(u8x16::splat(b' '))).to_bitmask();
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += 16;
    }
    let within = text.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some(at + within)
}

/// What of the strings reaches from one block into the next.
#[derive(Default)]
struct Strings {
    /// All ones within a string.
    open: u64,
    /// 1 where the first byte of the next block is escaped.
    escape: u64,
}

impl Strings {
    /// Which bytes stand within strings, opening quotes included.
    fn within(&mut self, quotes: u64, backslashes: u64) -> u64 {
        let mut within = quotes & !self.escaped(backslashes);
        // Each bit becomes the parity of those up to it.
        for distance in [1, 2, 4, 8, 16, 32] {
            within ^= within << distance;
        }
        within ^= self.open;
        self.open = 0_u64.wrapping_sub(within >> 63);
        within
    }

    /// Which bytes a backslash escapes: those after an odd number of them. A run of backslashes that begins at an even bit
    /// escapes what is at odd ones, and the other way round; adding a run's beginning to it carries to the byte behind
    /// it, and by whether that is at an odd bit one knows.
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        if backslashes | self.escape == 0 {
            return 0;
        }
        let escaping = backslashes & !self.escape;
        let parity = ((escaping << 1) | ODD).wrapping_sub(escaping) ^ ODD;
        let escaped = parity ^ (backslashes | self.escape);
        self.escape = (parity & backslashes) >> 63;
        escaped
    }
}

/// The block at a position, filled up with spaces behind the end; `None` at the end.
fn block(text: &[u8], at: usize) -> Option<[u8; BLOCK]> {
    let rest = text.get(at..)?;
    if let Some(block) = rest.first_chunk() {
        return Some(*block);
    }
    let mut block = [b' '; BLOCK];
    block.get_mut(..rest.len())?.copy_from_slice(rest);
    (!rest.is_empty()).then_some(block)
}

fn equal(block: &[u8; BLOCK], byte: u8) -> u64 {
    mask(block, |bytes| bytes.simd_eq(u8x16::splat(byte)))
}

#[inline]
fn mask(block: &[u8; BLOCK], which: impl Fn(u8x16) -> u8x16) -> u64 {
    let (quarters, _) = block.as_chunks::<16>();
    let masks = quarters.iter().map(|quarter| u64::from(which(u8x16::new(*quarter)).to_bitmask()));
    masks.enumerate().fold(0, |all, (number, mask)| all | (mask << (16 * number)))
}
