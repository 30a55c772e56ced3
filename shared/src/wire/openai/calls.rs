//! Which call of a tool an event continues.
//!
//! By the format each event numbers its calls. Some leave the number out, some number every call 0, and some continue a call
//! under another number: an id that is new begins a call, and what has neither id nor number belongs to the last one. Without
//! that, two calls would be read as one, with a name and arguments that nobody wrote.

/// Most calls of a stream that are told apart; all after them are the last one.
const MAX_CALLS: usize = 1024;

/// The number of a call that has none, at this place in its event.
pub(super) fn unnumbered(place: usize) -> u64 {
    u64::MAX - place as u64
}

/// The calls of a stream's answers so far, in their order.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

#[derive(Debug)]
struct Call {
    choice: u64,
    /// Its place among the calls of its answer.
    place: u64,
    /// Its number in the events.
    number: u64,
    id: String,
}

impl Calls {
    /// The place, among the calls of its answer, of the call that an event says more of.
    pub(super) fn place(&mut self, choice: u64, number: u64, id: &str, has_name: bool) -> u64 {
        let mut of_choice = self.0.iter().rev().filter(|call| call.choice == choice);
        let last = of_choice.clone().next().map(|call| call.place);
        let begun = match id {
            "" => of_choice.find(|call| call.number == number).map(|call| call.place),
            id => of_choice
                .find(|call| call.id == id || call.number == number && call.id.is_empty())
                .map(|call| call.place),
        };
        let is_one_more = has_name && number != unnumbered(0) || !id.is_empty();
        let continued = if is_one_more { None } else { last };
        if let Some(place) = begun.or(continued) {
            return place;
        }
        let place = last.map_or(0, |last| last + 1);
        if self.0.len() == MAX_CALLS {
            return last.unwrap_or(0);
        }
        self.0.push(Call { choice, place, number, id: id.to_owned() });
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an event says of a call: its number, its id, and whether it has a name.
    type Said = (u64, &'static str, bool);

    #[test]
    fn each_providers_way_of_numbering_calls_is_understood() {
        const NONE: u64 = u64::MAX;
        let table: [(&str, &[Said], &[u64]); 8] = [
            (
                "numbered",
                &[(0, "a", true), (0, "", false), (1, "b", true), (1, "", false), (0, "", false)],
                &[0, 0, 1, 1, 0],
            ),
            (
                "an id in every event",
                &[(0, "a", true), (0, "a", false), (1, "b", true), (1, "b", false)],
                &[0, 0, 1, 1],
            ),
            ("no number", &[(NONE, "a", true), (NONE, "", false), (NONE, "b", true), (NONE, "", false)], &[0, 0, 1, 1]),
            ("all numbered 0", &[(0, "a", true), (0, "", false), (0, "b", true), (0, "", false)], &[0, 0, 1, 1]),
            ("continued under another number", &[(0, "a", true), (1, "", false)], &[0, 0]),
            ("no id", &[(0, "", true), (0, "", false), (1, "", true), (1, "", false)], &[0, 0, 1, 1]),
            ("neither, in one event", &[(NONE, "", true), (NONE - 1, "", true)], &[0, 1]),
            ("numbered from 1", &[(1, "a", true), (1, "", false), (2, "b", true)], &[0, 0, 1]),
        ];
        for (what, events, expected) in table {
            let mut calls = Calls::default();
            let places: Vec<u64> =
                events.iter().map(|(number, id, has_name)| calls.place(7, *number, id, *has_name)).collect();
            assert_eq!(places, expected, "{what}");
            assert_eq!(calls.place(8, 0, "other", true), 0, "another answer's calls are counted apart");
        }
    }

    #[test]
    fn calls_without_end_are_few_in_memory() {
        let mut calls = Calls::default();
        let places: Vec<u64> = (0..2_000).map(|i| calls.place(0, i, &i.to_string(), true)).collect();
        assert_eq!((calls.0.len(), places.last()), (MAX_CALLS, Some(&1_023)));
    }
}
