//! Which intent a request has: the utterances that are nearest to it.
//!
//! Each intent is known by examples. A request is compared with all of them, and an intent's score is a blend of three
//! likenesses: to its best utterance (a request that was foreseen), to the mean of its three best (one lucky word is not enough)
//! and to the centre of all of them (what the intent is about at large). The single nearest utterance alone, the textbook's
//! method, was the worst of those measured; the blend was the best that needs no training, so that an operator's own intents
//! work from the moment they stand in the configuration.
//!
//! A softmax turns scores into probabilities. They answer two questions: is this sure enough (`confidence`), and how much of the
//! mass lies on intents of the reasoning tier. The second sums over intents, because "debugging or code analysis?" may be open
//! where "hard or easy?" is not.
//!
//! The request is compared with every utterance, without an index structure: some hundred rows of some hundred floats are some
//! microseconds of straight multiplication, and exact. The rows are laid out in blocks, dimension by dimension, so that one
//! number of the request meets 32 utterances at once; row after row it takes half as long again.

use super::embedder::{EmbedError, Embedder};

/// Confidence below which a classifier should be called, for the embedder in process and the shipped utterances.
///
/// On prompts of this project's own writing that are not among the utterances, 91 in 100 are as sure as this; of those the
/// intent is right in 93 and the tier in 99 of 100 (of all: 87 and 97). At 0.4 the figures are 94, 92 and 99, at 0.6 they are 86, 94
/// and 99. On strangers' prompts, long, of many languages and mostly about code, 41 in 100 are as sure as this and their tier
/// is right in 92 of 100 (at 0.4: 55 and 84), and those are what the threshold is for.
pub const DEFAULT_CONFIDENCE_THRESHOLD: f32 = 0.5;

// What each likeness counts, and how sharp the softmax is: fitted for the embedder in process by leaving utterances out one at
// a time, and on public prompts. Another embedder has another spread of likenesses, and wants its own.
const BEST: f32 = 0.25;
const NEAREST: f32 = 0.4;
const CENTRE: f32 = 0.35;
const SHARPNESS: f32 = 40.0;

/// How many of an intent's utterances are averaged.
const NEIGHBOURS: usize = 3;

/// Utterances that are compared at once: eight registers of four sums on the plainest x86-64, more per register elsewhere.
const LANES: usize = 32;

/// Utterances and what they stand for, ready to be compared with.
#[derive(Debug, Clone)]
pub struct IntentIndex {
    names: Vec<String>,
    groups: Vec<Group>,
    dimensions: usize,
    /// # Shape
    /// `[⌈utterances / LANES⌉, dimensions, LANES]`, utterances of unit length grouped by intent, the last block filled up with zeros.
    blocks: Vec<f32>,
}

/// The utterances of one intent.
#[derive(Debug, Clone)]
struct Group {
    utterances: usize,
    /// Length of the sum of their vectors. The likeness to their centre is the sum of the likenesses over this length.
    sum_length: f32,
}

/// What a request is about, as far as its nearest utterances show.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// The most probable intent, an index into [`IntentIndex::names`].
    pub intent: usize,
    /// The probability of that intent, 0 to 1.
    pub confidence: f32,
    /// How far that probability is above the second, 0 to 1.
    pub margin: f32,
    /// # Shape
    /// `[intents]`, a probability for each, in the order of [`IntentIndex::names`]; they sum to 1.
    pub scores: Vec<f32>,
}

impl IntentIndex {
    /// Embeds every utterance once; an intent without any can never be near.
    ///
    /// # Errors
    /// Whatever the embedder says, and [`EmbedError::Shape`] where a vector has not the promised length.
    pub async fn build(intents: Vec<(String, Vec<String>)>, embedder: &dyn Embedder) -> Result<Self, EmbedError> {
        let dimensions = embedder.dimensions();
        let mut index = Self { names: Vec::new(), groups: Vec::new(), dimensions, blocks: Vec::new() };
        let mut row = 0;
        for (name, utterances) in intents {
            let mut sum = vec![0.0; dimensions];
            for utterance in &utterances {
                let vector = embedder.embed(utterance).await?;
                if vector.len() != dimensions {
                    return Err(EmbedError::Shape { expected: dimensions, got: vector.len() });
                }
                sum.iter_mut().zip(&vector).for_each(|(sum, x)| *sum += x);
                index.put(row, &vector);
                row += 1;
            }
            let sum_length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
            index.groups.push(Group { utterances: utterances.len(), sum_length });
            index.names.push(name);
        }
        Ok(index)
    }

    /// Lays an utterance's vector into its lane of its block.
    fn put(&mut self, row: usize, vector: &[f32]) {
        let start = row / LANES * LANES * self.dimensions;
        self.blocks.resize(start + LANES * self.dimensions, 0.0);
        let lane = self.blocks.iter_mut().skip(start + row % LANES).step_by(LANES);
        lane.zip(vector).for_each(|(to, x)| *to = *x);
    }

    /// The intents' names, in the order in which they were given.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Compares a text's vector with every utterance. A vector that says nothing (all zero) makes every intent equally
    /// probable; an index without intents answers intent 0 with no confidence and no scores.
    ///
    /// # Shape
    /// `vector`: `[dimensions]` of the embedder that the index was built with, of unit length.
    #[must_use]
    pub fn classify(&self, vector: &[f32]) -> Detection {
        let blocks = self.blocks.chunks_exact(LANES * self.dimensions.max(1));
        let mut likenesses = blocks.flat_map(|block| compare(block, vector));
        let mut scores = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            // Largest first. What points away is no nearer than what has nothing in common, hence the floor at 0.
            let mut nearest = [0.0_f32; NEIGHBOURS];
            let mut sum = 0.0;
            for likeness in likenesses.by_ref().take(group.utterances) {
                insert(&mut nearest, likeness);
                sum += likeness;
            }
            let mean = nearest.iter().sum::<f32>() / NEIGHBOURS as f32;
            let centre = sum / group.sum_length.max(f32::MIN_POSITIVE);
            scores.push(BEST * nearest[0] + NEAREST * mean + CENTRE * centre);
        }
        into_probabilities(&mut scores);

        let mut top = (0, 0.0);
        let mut second = 0.0;
        for (intent, &probability) in scores.iter().enumerate() {
            if probability > top.1 {
                second = top.1;
                top = (intent, probability);
            } else if probability > second {
                second = probability;
            }
        }
        Detection { intent: top.0, confidence: top.1, margin: top.1 - second, scores }
    }
}

/// Keeps the largest, largest first.
fn insert(largest: &mut [f32; NEIGHBOURS], mut candidate: f32) {
    for kept in largest {
        if candidate > *kept {
            std::mem::swap(kept, &mut candidate);
        }
    }
}

/// Softmax, in place. The greatest is taken off first, so that no exponential overflows.
fn into_probabilities(scores: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (SHARPNESS * (*score - greatest)).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The inner products of a vector with the utterances of one block.
fn compare(block: &[f32], vector: &[f32]) -> [f32; LANES] {
    let mut products = [0.0; LANES];
    for (lanes, x) in block.chunks_exact(LANES).zip(vector) {
        for (product, y) in products.iter_mut().zip(lanes) {
            *product += x * y;
        }
    }
    products
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::embedder::HashedNgrams;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// The shipped intents: name, whether the tier is `reasoning`, utterances.
    fn shipped_intents() -> Vec<(String, bool, Vec<String>)> {
        let assets: toml::Table = include_str!("../../../../assets/intents.toml").parse().unwrap();
        let intents = assets["intents"].as_table().unwrap();
        intents
            .iter()
            .map(|(name, intent)| {
                let hard = match intent["tier"].as_str().unwrap() {
                    "cheap" => false,
                    "reasoning" => true,
                    other => panic!("{name} has the tier {other}"),
                };
                let utterances = intent["examples"].as_array().unwrap().iter();
                (name.clone(), hard, utterances.map(|u| u.as_str().unwrap().to_owned()).collect())
            })
            .collect()
    }

    struct Shipped {
        index: IntentIndex,
        hard: Vec<bool>,
    }

    impl Shipped {
        async fn load() -> Self {
            let intents = shipped_intents();
            let hard = intents.iter().map(|(_, hard, _)| *hard).collect();
            let utterances = intents.into_iter().map(|(name, _, utterances)| (name, utterances)).collect();
            Self { index: IntentIndex::build(utterances, &HashedNgrams).await.unwrap(), hard }
        }

        async fn detect(&self, text: &str) -> (&str, Detection) {
            let detection = self.index.classify(&HashedNgrams.embed(text).await.unwrap());
            (&self.index.names()[detection.intent], detection)
        }

        /// The probability that the cheap tier would not do.
        fn difficulty(&self, detection: &Detection) -> f32 {
            detection.scores.iter().zip(&self.hard).filter(|(_, hard)| **hard).map(|(p, _)| p).sum()
        }
    }

    /// An embedder that reads its vector from the text: numbers separated by spaces.
    struct Literal {
        dimensions: usize,
    }

    #[async_trait::async_trait]
    impl Embedder for Literal {
        fn dimensions(&self) -> usize {
            self.dimensions
        }
        async fn embed(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
            Ok(text.split_whitespace().map(|x| x.parse().unwrap()).collect())
        }
    }

    fn literal(rows: &[Vec<f32>]) -> Vec<String> {
        rows.iter().map(|row| row.iter().map(|x| format!("{x} ")).collect()).collect()
    }

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[tokio::test]
    async fn what_is_an_api_is_a_simple_question_for_the_cheap_tier() {
        let shipped = Shipped::load().await;
        let (intent, detection) = shipped.detect("What is an API?").await;
        assert_eq!(intent, "simple_question");
        assert!(detection.confidence > 0.9, "{detection:?}");
        assert!(shipped.difficulty(&detection) < 0.1);
    }

    #[tokio::test]
    async fn a_scalable_chat_system_is_an_architecture_review_for_the_reasoning_tier() {
        let shipped = Shipped::load().await;
        let (intent, detection) = shipped.detect("Design a scalable chat system").await;
        assert_eq!(intent, "architecture_review");
        assert!(detection.confidence > 0.9, "{detection:?}");
        assert!(shipped.difficulty(&detection) > 0.9);
    }

    #[test]
    fn the_shipped_intents_are_many_and_their_utterances_distinct() {
        let intents = shipped_intents();
        assert!(intents.len() >= 12);
        let mut seen = HashSet::new();
        for (name, _, utterances) in &intents {
            assert!(utterances.len() >= 24, "{name} has {}", utterances.len());
            for utterance in utterances {
                assert!(seen.insert(utterance.to_lowercase()), "{utterance:?} is there twice");
            }
        }
        for scenario in ["what is an api?", "what is an api", "design a scalable chat system"] {
            assert!(!seen.contains(scenario), "{scenario:?} would be recognised by heart");
        }
    }

    /// Measured when this was written: intent 124 of 142, tier 138 of 142; at the default threshold 129 are sure, of which
    /// the tier is right in 128. The floors leave room for another embedder's own errors, not for worse ones.
    #[tokio::test]
    async fn prompts_that_were_never_seen_find_their_intent_and_their_tier() {
        let shipped = Shipped::load().await;
        let utterances: HashSet<String> = shipped_intents().into_iter().flat_map(|(_, _, u)| u).collect();
        let (mut prompts, mut intents, mut tiers) = (0, 0, 0);
        let (mut sure, mut sure_and_wrong_tier) = (0, 0);
        let mut wrong = Vec::new();
        for (expected, texts) in HELD_OUT {
            let hard = shipped.hard[shipped.index.names().iter().position(|name| name == expected).unwrap()];
            for text in *texts {
                assert!(!utterances.contains(*text), "{text:?} is an utterance");
                let (intent, detection) = shipped.detect(text).await;
                let right_tier = (shipped.difficulty(&detection) >= 0.5) == hard;
                prompts += 1;
                intents += usize::from(intent == *expected);
                tiers += usize::from(right_tier);
                if detection.confidence >= DEFAULT_CONFIDENCE_THRESHOLD {
                    sure += 1;
                    sure_and_wrong_tier += usize::from(!right_tier);
                }
                if intent != *expected {
                    wrong.push(format!("{text:?}: {intent} {:.2} instead of {expected}", detection.confidence));
                }
            }
        }
        let report = format!(
            "of {prompts}: intent {intents}, tier {tiers}, sure {sure}, of those wrong tier {sure_and_wrong_tier}\n{}",
            wrong.join("\n")
        );
        assert!(intents * 100 >= prompts * 84, "{report}");
        assert!(tiers * 100 >= prompts * 95, "{report}");
        assert!(sure * 100 >= prompts * 85, "{report}");
        assert!(sure_and_wrong_tier <= 3, "{report}");
    }

    #[tokio::test]
    async fn an_utterance_is_recognised_as_what_it_stands_for() {
        let shipped = Shipped::load().await;
        let (mut all, mut right) = (0, 0);
        for (name, _, utterances) in shipped_intents() {
            // Some of each: an unoptimised build compares slowly.
            for utterance in utterances.into_iter().step_by(6) {
                all += 1;
                right += usize::from(shipped.detect(&utterance).await.0 == name);
            }
        }
        assert!(right * 100 >= all * 98, "{right} of {all}");
    }

    #[tokio::test]
    async fn a_text_that_says_nothing_leaves_every_intent_equally_probable() {
        let shipped = Shipped::load().await;
        for text in ["", " \n"] {
            let (_, detection) = shipped.detect(text).await;
            assert!((detection.confidence - 1.0 / shipped.hard.len() as f32).abs() < 1e-6);
            assert_eq!(detection.margin, 0.0);
            assert!(detection.confidence < DEFAULT_CONFIDENCE_THRESHOLD);
        }
    }

    #[test]
    fn any_text_gets_probabilities() {
        let shipped = run(Shipped::load());
        proptest!(ProptestConfig::with_cases(48), |(text in any::<String>())| {
            let (_, detection) = run(shipped.detect(&text));
            prop_assert_eq!(detection.scores.len(), shipped.index.names().len());
            prop_assert!(detection.scores.iter().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!((detection.scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let mut sorted = detection.scores.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(detection.confidence, sorted[0]);
            prop_assert_eq!(detection.scores[detection.intent], sorted[0]);
            prop_assert!((detection.margin - (sorted[0] - sorted[1])).abs() < 1e-6);
            prop_assert_eq!(&run(shipped.detect(&text)).1, &detection);
        });
    }

    #[tokio::test]
    async fn an_index_without_intents_is_sure_of_nothing() {
        let index = IntentIndex::build(Vec::new(), &HashedNgrams).await.unwrap();
        let detection = index.classify(&HashedNgrams.embed("hello").await.unwrap());
        assert_eq!(detection, Detection { intent: 0, confidence: 0.0, margin: 0.0, scores: Vec::new() });
    }

    #[tokio::test]
    async fn an_intent_without_utterances_never_wins() {
        let intents = vec![("silent".to_owned(), vec![]), ("loud".to_owned(), vec!["1 0".to_owned()])];
        let index = IntentIndex::build(intents, &Literal { dimensions: 2 }).await.unwrap();
        assert_eq!(index.classify(&[1.0, 0.0]).intent, 1);
        assert!(index.classify(&[0.0, 1.0]).scores[0] <= 0.5);
    }

    #[tokio::test]
    async fn a_vector_of_another_length_is_refused_at_build() {
        let intents = vec![("odd".to_owned(), vec!["1 0".to_owned(), "1 0 0".to_owned()])];
        let refused = IntentIndex::build(intents, &Literal { dimensions: 2 }).await.err();
        assert_eq!(refused, Some(EmbedError::Shape { expected: 2, got: 3 }));
    }

    #[tokio::test]
    async fn one_lucky_utterance_yields_to_several_good_ones() {
        let lucky = literal(&[vec![0.9, 0.1], vec![0.0, -1.0], vec![-1.0, 0.0]]);
        let steady = literal(&[vec![0.8, 0.6], vec![0.8, -0.6], vec![0.85, 0.5]]);
        let intents = vec![("lucky".to_owned(), lucky), ("steady".to_owned(), steady)];
        let index = IntentIndex::build(intents, &Literal { dimensions: 2 }).await.unwrap();
        assert_eq!(index.classify(&[1.0, 0.0]).intent, 1);
    }

    proptest! {
        #[test]
        fn blocks_of_lanes_give_what_comparing_one_by_one_gives(
            groups in prop::collection::vec(prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 5), 1..40), 1..6),
            vector in prop::collection::vec(-1.0_f32..1.0, 5),
        ) {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
            let mut plain: Vec<f32> = groups.iter().map(|rows| {
                let mut likenesses: Vec<f32> = rows.iter().map(|row| dot(row, &vector)).collect();
                let centre: Vec<f32> = (0..5).map(|d| rows.iter().map(|row| row[d]).sum()).collect();
                let centre = likenesses.iter().sum::<f32>() / dot(&centre, &centre).sqrt();
                likenesses.sort_by(|a, b| b.total_cmp(a));
                let near = |n: usize| likenesses.get(n).copied().unwrap_or(0.0).max(0.0);
                BEST * near(0) + NEAREST * (near(0) + near(1) + near(2)) / 3.0 + CENTRE * centre
            }).collect();
            into_probabilities(&mut plain);

            let intents = groups.iter().map(|rows| (String::new(), literal(rows))).collect();
            let index = run(IntentIndex::build(intents, &Literal { dimensions: 5 })).unwrap();
            for (got, expected) in index.classify(&vector).scores.iter().zip(&plain) {
                prop_assert!((got - expected).abs() < 1e-3, "{} instead of {}", got, expected);
            }
        }
    }

    const HELD_OUT: &[(&str, &[&str])] = &[
        (
            "greeting",
            &[
                "good day, is anyone there?",
                "hiya buddy",
                "thanks so much, that solved my problem",
                "have a great evening, ciao",
                "are you an AI or a real person",
                "hello hello, anybody home?",
                "cool, thank you very much for explaining",
                "good night and sweet dreams",
                "nice meeting you",
                "what's your name and who built you",
            ],
        ),
        (
            "simple_question",
            &[
                "What is a load balancer?",
                "who discovered penicillin?",
                "how many moons does Jupiter have",
                "in which year was the Eiffel Tower completed",
                "what does the abbreviation NASA mean",
                "What is a microservice?",
                "how heavy is an elephant",
                "who composed the Four Seasons",
                "what is the currency of Switzerland",
                "when did the first man walk on the moon?",
                "what does RAM stand for",
            ],
        ),
        (
            "summarization",
            &[
                "Please give a short summary of the article that follows.",
                "can you shorten this report into three main points",
                "whats the tldr of this thread",
                "Summarize this in two sentences: Bees communicate the location of flowers by dancing. The angle of the dance shows the direction relative to the sun, and its length shows the distance.",
                "Give me a quick overview of what was decided in the meeting transcript below",
                "Please condense the attached report into half a page",
                "What is the key message of this article? Answer in one sentence.",
                "summarize our conversation so far",
                "I have no time to read this, just give me the main points: The board approved the merger on Monday. Staff will be informed next week and offices stay open.",
                "short summary of chapter 4, bullet points",
            ],
        ),
        (
            "translation",
            &[
                "translate the sentence 'I missed my bus' to Norwegian",
                "how can I say cheese in Greek",
                "Could you put this letter into Vietnamese for me",
                "What's the English meaning of the Spanish word 'mariposa'?",
                "English to Czech: see you on Monday",
                "How do Germans say 'enjoy your meal'?",
                "translate the email below into French, keep it formal",
                "what's the Italian expression for 'break a leg'",
                "Please render the following in English: Mañana viajo a Madrid con mi hermana.",
                "Japanese translation of 'see you next week'",
            ],
        ),
        (
            "extraction",
            &[
                "Extract all prices from the menu below",
                "return a JSON object with the customer's name and the delivery date found in this email",
                "List the countries that occur in the text, comma separated",
                "pull out every person and organisation named in this press release",
                "From the following bill, give the due date and the amount owed",
                "Extract the sender, the subject and the date from this email header",
                "Find every URL in the text and return them as a JSON array",
                "which people are mentioned in this article? only names please",
                "get the total, the tax and the currency from the receipt text",
                "Pull the serial number out of the following device report",
            ],
        ),
        (
            "rewriting",
            &[
                "Make this text sound more confident",
                "please correct grammar and spelling: she dont likes to swimming",
                "rephrase the paragraph for a younger audience",
                "Could you rewrite my apology so that it's less defensive?",
                "reword the following sentence to avoid repetition",
                "Can you fix the grammar of this paragraph?",
                "Rewrite my bio in the third person",
                "make the text below shorter and more polite",
                "paraphrase this sentence for my essay: Climate change affects everyone.",
                "give this email a warmer tone",
            ],
        ),
        (
            "classification",
            &[
                "Classify this message as urgent or not urgent",
                "Is the following product review positive or negative? The zipper broke after two days.",
                "Which of these departments should handle the complaint: sales, support or legal?",
                "label the sentence as question, command or statement",
                "does the comment below contain insults? answer yes or no",
                "Classify each headline as politics, economy or sports",
                "is this message spam? 'You won a prize, click here'",
                "sentiment of this tweet: I can't stop smiling today",
                "Categorize these expenses by type",
                "Decide if the following statement is true or false",
            ],
        ),
        (
            "creative_writing",
            &[
                "Write a fairy tale about a lonely lighthouse keeper",
                "compose a short poem on the first day of spring",
                "tell me a joke about programmers",
                "Write a dialogue in which two robots argue about love",
                "Draft a farewell speech for a retiring teacher",
                "Write a bedtime story about a turtle who wants to fly",
                "a limerick about a clumsy chef",
                "Compose song lyrics about leaving home",
                "write a letter from a ghost to the new owners of the house",
                "Describe an alien market in a science fiction setting",
            ],
        ),
        (
            "advice",
            &[
                "How do I get over my fear of flying?",
                "suggest a healthy breakfast for busy mornings",
                "What should I pack for a week of hiking in Norway?",
                "what are the pros and cons of buying a used car",
                "Explain how airplanes stay in the air",
                "How can I learn to cook as a complete beginner?",
                "what's the best way to prepare for an exam in one week",
                "Recommend three novels for a long train ride",
                "my friend never pays me back, what should I do?",
                "explain how a solar panel makes electricity",
                "What to do on a rainy Sunday with two kids",
            ],
        ),
        (
            "code_generation",
            &[
                "Write a Python script that renames all photos in a directory by date",
                "implement a stack with push and pop in C#",
                "create a SQL statement that lists customers without orders",
                "generate a Kubernetes manifest for a redis deployment",
                "function in typescript to deep clone an object",
                "Write a Go function that merges two sorted slices",
                "create a bash one-liner that counts files per extension",
                "Implement a binary heap in Rust with push and pop",
                "write an SQL query to get the average order value per month",
                "html form with email validation in javascript",
            ],
        ),
        (
            "debugging",
            &[
                "Why am I getting an index out of bounds exception in this loop?",
                "my flask app returns 404 for every route, what is wrong",
                "AttributeError: 'list' object has no attribute 'split'",
                "The build fails with 'cannot find symbol', how can I fix it?",
                "fix the bug: the counter is not updated after the button is clicked",
                "Why does my Python script crash with a UnicodeDecodeError?",
                "The login page shows a blank screen after I deploy, what could be wrong?",
                "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
                "this code prints nothing, help me find the mistake",
                "my Rust program does not compile: mismatched types expected u32 found i64",
            ],
        ),
        (
            "code_analysis",
            &[
                "Explain what the following C++ function does",
                "what is the worst case complexity of this sorting routine?",
                "Review my JavaScript module and suggest improvements",
                "Could this Go code have a race condition?",
                "what does this regex match: (?:\\d{3}-)?\\d{4}",
                "Explain how this recursive function works",
                "Review the following pull request for correctness and style",
                "What does this SQL query return?",
                "is there a memory leak in this C code",
                "How can the performance of this function be improved?",
            ],
        ),
        (
            "architecture_review",
            &[
                "Design a scalable photo sharing service",
                "How would you architect a ticketing platform for flash sales?",
                "Review the design of our event driven order pipeline and name its weak spots",
                "Kafka or RabbitMQ for a system with 50 services?",
                "what database schema would you propose for a hotel reservation system",
                "Design a distributed cache for a global e-commerce site",
                "How would you build the backend for a food delivery app with live tracking?",
                "Is it a good idea to put all our services behind one API gateway?",
                "review this architecture for scalability and cost",
                "SQL or NoSQL for storing billions of sensor readings?",
            ],
        ),
        (
            "mathematics_reasoning",
            &[
                "Solve the inequality 2x + 3 < 11",
                "Calculate the derivative of ln(x^2 + 1)",
                "A baker makes 48 rolls and sells three quarters of them before noon. How many are left?",
                "Prove that the sum of two even integers is even",
                "what is the probability of drawing an ace from a deck of 52 cards",
                "Find the roots of x^2 - 9x + 20",
                "A cyclist rides 45 km in 2.5 hours. What is her speed?",
                "integrate sin(x) cos(x)",
                "Tim has twice as many coins as Eva. Together they have 36. How many does Eva have?",
                "show that the function f(x) = x^3 is injective",
            ],
        ),
    ];
}
