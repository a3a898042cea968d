//! Numbered places for values, each in one of two least-recently-used lists.

/// A place. It names the value put there, not what comes there later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    index: u32,
    generation: u32,
}

/// Places added at once, at least.
const GROWTH: usize = 256;

/// The list a value is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    Live,
    Exited,
}

#[derive(Debug)]
struct Node<T> {
    value: Option<T>,
    generation: u32,
    list: List,
    newer: Option<u32>,
    older: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    newest: Option<u32>,
    oldest: Option<u32>,
    len: usize,
}

/// The places.
#[derive(Debug)]
pub struct Slab<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    live: Ends,
    exited: Ends,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), live: Ends::default(), exited: Ends::default() }
    }
}

impl<T> Slab<T> {
    /// Puts a value in, as the most recently used of its list. `None`: 2^32 places are taken.
    pub fn insert(&mut self, value: T, list: List) -> Option<Slot> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.nodes.len()).ok()?;
                let (newer, older) = (None, None);
                if self.nodes.len() == self.nodes.capacity() {
                    // Not doubled: half of it would lie waste for as long as we run.
                    self.nodes.reserve_exact((self.nodes.len() / 8).max(GROWTH));
                }
                self.nodes.push(Node { value: None, generation: 0, list, newer, older });
                index
            }
        };
        let node = self.nodes.get_mut(index as usize)?;
        node.value = Some(value);
        node.list = list;
        let generation = node.generation;
        self.link(index);
        Some(Slot { index, generation })
    }

    fn node(&self, slot: Slot) -> Option<&Node<T>> {
        self.nodes.get(slot.index as usize).filter(|node| node.generation == slot.generation)
    }

    /// The value, if it is still there.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.node(slot)?.value.as_ref()
    }

    /// The value, if it is still there.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let node = self.nodes.get_mut(slot.index as usize)?;
        if node.generation == slot.generation { node.value.as_mut() } else { None }
    }

    /// Makes a value the most recently used of its list.
    pub fn touch(&mut self, slot: Slot) {
        if self.node(slot).is_some_and(|node| node.value.is_some()) {
            self.unlink(slot.index);
            self.link(slot.index);
        }
    }

    /// Moves a value to a list.
    pub fn shift(&mut self, slot: Slot, list: List) {
        if self.node(slot).is_none_or(|node| node.value.is_none()) {
            return;
        }
        self.unlink(slot.index);
        if let Some(node) = self.nodes.get_mut(slot.index as usize) {
            node.list = list;
        }
        self.link(slot.index);
    }

    /// Takes a value out.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.node(slot)?.value.as_ref()?;
        self.unlink(slot.index);
        let node = self.nodes.get_mut(slot.index as usize)?;
        node.generation = node.generation.wrapping_add(1);
        self.free.push(slot.index);
        node.value.take()
    }

    /// The least recently used value of a list.
    pub fn least_used(&self, list: List) -> Option<Slot> {
        let index = self.ends(list).oldest?;
        let generation = self.nodes.get(index as usize)?.generation;
        Some(Slot { index, generation })
    }

    /// Values in a list.
    pub const fn len(&self, list: List) -> usize {
        self.ends(list).len
    }

    /// Bytes on the heap, without what the values own.
    pub fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<T>>() + self.free.capacity() * size_of::<u32>()
    }

    const fn ends(&self, list: List) -> &Ends {
        match list {
            List::Live => &self.live,
            List::Exited => &self.exited,
        }
    }

    const fn ends_mut(&mut self, list: List) -> &mut Ends {
        match list {
            List::Live => &mut self.live,
            List::Exited => &mut self.exited,
        }
    }

    fn link(&mut self, index: u32) {
        let Some(list) = self.nodes.get(index as usize).map(|node| node.list) else { return };
        let ends = self.ends_mut(list);
        let previous = ends.newest.replace(index);
        ends.oldest.get_or_insert(index);
        ends.len = ends.len.saturating_add(1);
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.newer = None;
            node.older = previous;
        }
        if let Some(node) = previous.and_then(|index| self.nodes.get_mut(index as usize)) {
            node.newer = Some(index);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(node) = self.nodes.get(index as usize) else { return };
        let (newer, older, list) = (node.newer, node.older, node.list);
        match newer.and_then(|index| self.nodes.get_mut(index as usize)) {
            Some(node) => node.older = older,
            None => self.ends_mut(list).newest = older,
        }
        match older.and_then(|index| self.nodes.get_mut(index as usize)) {
            Some(node) => node.newer = newer,
            None => self.ends_mut(list).oldest = newer,
        }
        let ends = self.ends_mut(list);
        ends.len = ends.len.saturating_sub(1);
    }
}
