//! What is counted as it changes is what counting anew finds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

pub(super) fn sound(delivery: &Delivery<u64>) -> Result<(), TestCaseError> {
    let keyed = &delivery.keyed;
    let config = delivery.config;
    let all: Vec<_> = keyed.iter().collect();
    let mut keys = BTreeMap::<_, usize>::new();
    for key in all.iter().filter_map(|(id, _)| keyed.key(*id)) {
        *keys.entry(key.clone()).or_default() += 1;
    }
    let full = keys.values().any(|len| *len >= config.key_share);
    prop_assert_eq!(delivery.shares.any_full(), full);
    let out = all.iter().filter(|(id, _)| keyed.is_out(*id)).count();
    prop_assert_eq!(delivery.running, out);
    let vacant = |held: &Held<u64>| matches!(held.state, State::Away { due: true });
    let vacant = all.iter().filter(|(_, held)| vacant(held)).count();
    prop_assert_eq!(delivery.vacant, vacant);
    if let Some(known) = delivery.table.known() {
        prop_assert_eq!(known.len(), all.len());
        for (id, held) in &all {
            prop_assert_eq!(known.get(&held.identity()), Some(id));
        }
    }
    prop_assert!(all.len() <= 3 * config.window);
    let free = match config.window.saturating_sub(all.len() - vacant) {
        free if full && config.at_share == AtShare::Stall => free.min(vacant),
        free => free,
    };
    let awaiting = vacant > 0 && delivery.held() < 2 * config.window;
    // What was refused is not asked for at once.
    let rests = delivery.rests_until.is_some() && all.len() == 3 * config.window;
    let free = free.max(usize::from(awaiting));
    prop_assert_eq!(delivery.free(), if rests { 0 } else { free });
    let ordinary = all.iter().filter(|(_, held)| !held.redriven);
    let lowest = ordinary.map(|(_, held)| held.meta.stream_seq).min();
    prop_assert_eq!(delivery.lowest_unsettled(), lowest);
    Ok(())
}
