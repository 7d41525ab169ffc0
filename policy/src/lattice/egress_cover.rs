//! Few blocks for a set of end points.
//!
//! A set is kept as disjoint port ranges with addresses each, which makes equal sets equal values,
//! but makes many of few: 40 blocks with overlapping ports are 1,600 such pieces. Written down, it
//! is covered by blocks that are as large as they can be and may overlap, so that their number
//! stays near that of what was once written. The cover is a function of the set alone: equal sets
//! are written alike.

type Range = (u128, u128);

/// Addresses over a range of ports: a rectangle of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    pub(super) ports: (u16, u16),
    pub(super) addresses: Range,
}

/// Cells of port ranges (columns) and address ranges (rows) that are inside the set.
struct Grid {
    rows: Vec<Range>,
    /// How many cells are inside above and left of each corner: a rectangle is full when the number
    /// of its cells is that of its area, whatever its size, in four look-ups.
    inside: Vec<usize>,
    columns: usize,
    covered: Vec<bool>,
}

/// Columns from `left` and rows from `top`, both ends included.
#[derive(Clone, Copy)]
struct Rectangle {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Grid {
    fn new(segments: &[((u16, u16), &[Range])]) -> Self {
        // Rows begin where membership of any segment can change, as in `sweep_addresses`.
        let mut edges: Vec<u128> = Vec::new();
        let mut end = 0;
        for (first, last) in segments.iter().flat_map(|(_, addresses)| addresses.iter()) {
            edges.push(*first);
            edges.extend(last.checked_add(1));
            end = end.max(*last);
        }
        edges.sort_unstable();
        edges.dedup();
        // The edge behind the greatest address is no row.
        let starts = edges.iter().copied().filter(|edge| *edge <= end);
        let rows: Vec<Range> = starts
            .enumerate()
            .map(|(index, first)| (first, edges.get(index + 1).map_or(end, |next| next - 1)))
            .collect();
        let columns = segments.len();
        let mut grid = Self {
            inside: vec![0; (rows.len() + 1) * (columns + 1)],
            rows,
            columns,
            covered: vec![],
        };
        grid.covered = vec![false; grid.rows.len() * columns];
        // A table of sums: each corner has the count of the corner above, and what this row has had
        // so far.
        for row in 0..grid.rows.len() {
            let mut along = 0;
            for (column, (_, addresses)) in segments.iter().enumerate() {
                let first = grid.rows.get(row).map_or(0, |range| range.0);
                let at = addresses.partition_point(|range| range.1 < first);
                let inside = addresses.get(at).is_some_and(|range| range.0 <= first);
                along += usize::from(inside);
                let above = grid.count(row, column + 1);
                let index = grid.corner(row + 1, column + 1);
                if let Some(slot) = grid.inside.get_mut(index) {
                    *slot = above + along;
                }
            }
        }
        grid
    }

    const fn corner(&self, row: usize, column: usize) -> usize {
        row * (self.columns + 1) + column
    }

    fn count(&self, row: usize, column: usize) -> usize {
        self.inside.get(self.corner(row, column)).copied().unwrap_or(0)
    }

    fn is_full(&self, r: Rectangle) -> bool {
        // Inclusion and exclusion on the table of sums; the whole is larger than what is taken off,
        // as both counts nest.
        let (right, bottom) = (r.right + 1, r.bottom + 1);
        let all = self.count(bottom, right) + self.count(r.top, r.left);
        let outside = self.count(r.top, right) + self.count(bottom, r.left);
        all - outside == (right - r.left) * (bottom - r.top)
    }

    /// Grows upwards and downwards as far as everything is inside.
    fn taller(&self, mut r: Rectangle) -> Rectangle {
        while r.top > 0 && self.is_full(Rectangle { top: r.top - 1, ..r }) {
            r.top -= 1;
        }
        while r.bottom + 1 < self.rows.len()
            && self.is_full(Rectangle { bottom: r.bottom + 1, ..r })
        {
            r.bottom += 1;
        }
        r
    }

    /// Grows to both sides, over ports without a gap.
    fn wider(&self, mut r: Rectangle, joined: &[bool]) -> Rectangle {
        // Ports with a gap between them are no range, so a block cannot reach over it.
        let joins = |column: usize| joined.get(column).copied().unwrap_or(false);
        while r.left > 0 && joins(r.left) && self.is_full(Rectangle { left: r.left - 1, ..r }) {
            r.left -= 1;
        }
        while joins(r.right + 1) && self.is_full(Rectangle { right: r.right + 1, ..r }) {
            r.right += 1;
        }
        r
    }

    /// How many cells it would cover that are not covered yet.
    fn gain(&self, r: Rectangle) -> usize {
        let row = |row: usize| {
            let from = row * self.columns;
            let cells = self.covered.get(from + r.left..=from + r.right).unwrap_or_default();
            cells.iter().filter(|covered| !**covered).count()
        };
        (r.top..=r.bottom).map(row).sum()
    }

    fn cover(&mut self, r: Rectangle) {
        for row in r.top..=r.bottom {
            let from = row * self.columns;
            if let Some(cells) = self.covered.get_mut(from + r.left..=from + r.right) {
                cells.fill(true);
            }
        }
    }
}

/// Blocks whose union is that of the segments, sorted.
pub(super) fn cover(segments: &[((u16, u16), &[Range])]) -> Vec<Block> {
    // One port range needs no search: its address ranges are the blocks.
    if let [(ports, addresses)] = segments {
        return addresses.iter().map(|range| Block { ports: *ports, addresses: *range }).collect();
    }
    // Whether a column goes on where the one before it ends.
    let before = std::iter::once(None).chain(segments.iter().map(|(ports, _)| Some(ports.1)));
    let joined: Vec<bool> = segments
        .iter()
        .zip(before)
        .map(|((ports, _), before)| before.and_then(|last| last.checked_add(1)) == Some(ports.0))
        .collect();
    let mut grid = Grid::new(segments);
    let mut out = Vec::new();
    // Every cell that is inside and not yet covered starts a block. This is a greedy cover, not the
    // least one: the least is NP-hard to find, and what counts is that it is few, and always the
    // same.
    for column in 0..grid.columns {
        for row in 0..grid.rows.len() {
            let cell = Rectangle { left: column, right: column, top: row, bottom: row };
            let done = grid.covered.get(row * grid.columns + column).copied().unwrap_or(true);
            if done || !grid.is_full(cell) {
                continue;
            }
            // From one cell there are two ways to grow, first in height or first in width; the one
            // that covers more new cells is taken.
            let tall = grid.wider(grid.taller(cell), &joined);
            let wide = grid.taller(grid.wider(cell, &joined));
            let best = if grid.gain(wide) > grid.gain(tall) { wide } else { tall };
            grid.cover(best);
            let (first, last) = (segments.get(best.left), segments.get(best.right));
            let (top, bottom) = (grid.rows.get(best.top), grid.rows.get(best.bottom));
            if let (Some(first), Some(last), Some(top), Some(bottom)) = (first, last, top, bottom) {
                let (ports, addresses) = ((first.0.0, last.0.1), (top.0, bottom.1));
                out.push(Block { ports, addresses });
            }
        }
    }
    out.sort_unstable();
    out
}
