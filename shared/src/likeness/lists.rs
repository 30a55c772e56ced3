//! The words and phrases by which a text is read down to what it asks.
//!
//! Short on purpose: whatever is not listed here counts, and must stand in both texts. A word that is missing from the
//! first lists costs a hit; one too many in them costs a wrong answer.

/// A language whose smallest words are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    German,
    French,
    Spanish,
    Italian,
    Portuguese,
}

pub(super) const LANGUAGES: [Language; 6] =
    [Language::English, Language::German, Language::French, Language::Spanish, Language::Italian, Language::Portuguese];

impl Language {
    /// Words that say nothing about what is asked. Not among them: anything that turns a question around, such as a
    /// negation, a tense, a quantity or a direction.
    #[rustfmt::skip]
    pub(super) const fn fillers(self) -> &'static [&'static str] {
        match self {
            Self::English => &[
                "a", "an", "the", "of", "and", "is", "are", "am", "be", "been", "being", "does", "please", "just", "really",
                "actually", "exactly", "basically", "kindly", "hi", "hello", "hey", "thanks",
            ],
            Self::German => &[
                "der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "eines", "und", "ist",
                "sind", "bitte", "mal", "denn", "eigentlich", "hallo", "danke",
            ],
            Self::French => &[
                "le", "la", "les", "l", "un", "une", "des", "du", "de", "d", "et", "est", "sont", "s'il", "plaît",
                "bonjour", "merci",
            ],
            Self::Spanish => &[
                "el", "la", "los", "las", "un", "una", "de", "del", "y", "es", "son", "favor", "hola", "gracias",
            ],
            Self::Italian => &[
                "il", "lo", "la", "gli", "le", "un", "uno", "una", "di", "del", "della", "e", "è", "sono", "favore",
                "ciao", "grazie",
            ],
            Self::Portuguese => &[
                "o", "a", "os", "as", "um", "uma", "de", "da", "e", "é", "são", "favor", "olá", "obrigado",
            ],
        }
    }
}

/// Within what somebody owns, none of these stands.
#[rustfmt::skip]
pub(super) const BETWEEN: &[&str] = &[
    "in", "on", "at", "for", "with", "without", "to", "from", "by", "of", "and", "or", "than", "after", "before", "is", "are",
    "do", "does", "was", "were", "not", "a", "an", "the",
];

/// What a question for more than a yes begins with.
pub(super) const ASKS: &[&str] = &["how", "why", "when", "where", "who"];

impl Language {
    /// Further words by which a language is known.
    #[rustfmt::skip]
    pub(super) const fn signs(self) -> &'static [&'static str] {
        match self {
            Self::English => ENGLISH,
            Self::German => &["wie", "ich", "kann", "nicht", "was", "wer", "wo", "mein", "meine", "für", "mit", "von", "nach"],
            Self::French => &["comment", "quelle", "quel", "je", "pour", "pas", "qui", "mon", "ma", "vous", "avec"],
            Self::Spanish => &["cómo", "qué", "cuál", "puedo", "mi", "quién", "dónde", "para", "con"],
            Self::Italian => &["come", "quale", "qual", "che", "chi", "dove", "posso", "per", "con"],
            Self::Portuguese => &["como", "qual", "que", "quem", "onde", "posso", "para", "com"],
        }
    }
}

#[rustfmt::skip]
const ENGLISH: &[&str] = &[
    "what", "which", "who", "how", "why", "when", "where", "do", "did", "can", "could", "should", "would", "will", "i", "my",
    "you", "your", "it", "me", "we", "our", "in", "to", "for", "with", "from", "by", "about", "not", "that", "this", "there",
    "or", "was", "were", "have", "has", "tell", "give", "write", "explain",
];

/// What an English request may begin with before it says what it wants.
pub(super) const COURTESIES: &[&str] = &[
    "please",
    "hi",
    "hello",
    "hey",
    "hi there",
    "hello there",
    "can you",
    "could you",
    "would you",
    "will you",
    "i want you to",
    "i would like you to",
    "i want to know",
    "i would like to know",
    "i need to know",
    "do you know",
    "tell me about",
    "tell me",
    "let me know",
    "explain to me",
    "explain",
    "describe",
    "help me understand",
    "help me to",
    "help me",
    "may i ask",
    "i was wondering",
    "i wonder",
    "i want to",
    "i need to",
    "i would like to",
];

/// What says "how" in more words, and what it is read as.
pub(super) const HOWS: &[(&str, &[&str])] = &[
    ("how do i", &["how"]),
    ("how do you", &["how"]),
    ("how do we", &["how"]),
    ("how does one", &["how"]),
    ("how can i", &["how"]),
    ("how can you", &["how"]),
    ("how can we", &["how"]),
    ("how can one", &["how"]),
    ("how could i", &["how"]),
    ("how would i", &["how"]),
    ("how would you", &["how"]),
    ("how would one", &["how"]),
    ("how to", &["how"]),
    ("what is the way to", &["how"]),
    ("what is a way to", &["how"]),
    ("is there a way to", &["how"]),
    ("is there any way to", &["how"]),
    ("what are the steps to", &["how"]),
    ("show me how to", &["how"]),
    ("teach me how to", &["how"]),
    ("how i can", &["how"]),
    ("what is the best way to", &["how", "best"]),
    ("what is the best way of", &["how", "best"]),
    ("how do i best", &["how", "best"]),
    ("how best to", &["how", "best"]),
];

/// Whoever asks so wants a yes or a no.
pub(super) const YES_OR_NO: &[&str] = &[
    "is", "are", "am", "was", "were", "do", "does", "did", "can", "could", "will", "would", "should", "shall", "has",
    "have", "had", "may", "might", "must",
];

/// A text with one of these is about words, and each of its words counts as it is written.
#[rustfmt::skip]
pub(super) const ABOUT_WORDS: &[&str] = &[
    "translate", "translation", "translated", "spell", "spelled", "spelling", "rhyme", "rhymes", "conjugate", "pronounce",
    "pronounced", "pronunciation", "grammar", "grammatical", "grammatically", "plural", "singular", "tense", "letter",
    "letters", "syllable", "syllables", "rewrite", "rephrase", "paraphrase", "proofread", "anagram", "palindrome", "sentence",
    "word", "words", "mean", "means", "meaning", "synonym", "synonyms", "antonym", "antonyms", "say", "summarize",
    "summarise", "uppercase", "lowercase", "capitalize",
    "übersetze", "übersetzen", "buchstabiere", "heißt", "traduis", "traduire", "traduisez", "traduce", "traducir", "traduci",
    "tradurre", "traduza", "traduzir", "significa", "signifie", "bedeutet",
];

/// Words whose neighbours by meaning are other things: opposites, members of a series, units, names. What stands in place
/// of one must be the same.
#[rustfmt::skip]
pub(super) const APART: &[&str] = &[
    // Questions, pronouns, small words.
    "how", "why", "when", "where", "who", "whom", "whose", "which", "what", "he", "she", "him", "her", "his", "hers", "they",
    "them", "their", "it", "its", "this", "that", "these", "those", "here", "there", "my", "your", "our", "you", "me", "we",
    "us", "in", "out", "to", "from", "by", "for", "with", "without", "about", "into", "onto", "over", "under", "above", "below",
    "between", "before", "after", "during", "until", "since", "behind", "inside", "outside", "up", "down", "off", "through",
    "against", "versus", "than", "or", "if", "unless", "because", "though", "although", "but", "while",
    // Negation, quantity, frequency, time, certainty.
    "not", "no", "never", "none", "nothing", "nobody", "neither", "nor", "cannot", "hardly", "except", "all", "any", "some",
    "every", "each", "both", "either", "only", "few", "many", "much", "more", "most", "less", "least", "several", "half",
    "double", "twice", "once", "always", "often", "sometimes", "rarely", "seldom", "usually", "frequently", "occasionally",
    "regularly", "generally", "typically", "maybe", "perhaps", "probably", "possibly", "likely", "unlikely", "certainly",
    "now", "then", "again", "today", "tomorrow", "yesterday", "soon", "later", "earlier", "recently", "ago", "early", "late", "past",
    "future", "current", "previous", "next", "last", "first", "second", "third", "final", "was", "were", "did", "had", "has",
    "have", "will", "would", "can", "could", "should", "must", "may", "might", "shall", "daily", "weekly", "monthly",
    "yearly", "annual", "hour", "hours", "minute", "minutes", "seconds", "day", "days", "week", "weeks", "month", "months",
    "year", "years", "decade", "century", "morning", "afternoon", "evening", "night", "noon", "midnight",
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "weekend", "weekday",
    "january", "february", "march", "april", "june", "july", "august", "september", "october", "november", "december",
    "spring", "summer", "autumn", "fall", "winter", "christmas", "easter", "thanksgiving", "halloween",
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty",
    "thirty", "forty", "fifty", "sixty", "hundred", "hundreds", "thousand", "thousands", "million", "millions", "billion",
    "billions", "trillion", "dozen", "dozens", "fourth", "fifth", "sixth", "tenth", "quarter", "single", "triple",
    // Opposites and degrees.
    "high", "low", "higher", "lower", "highest", "lowest", "hot", "cold", "warm", "cool", "hotter", "colder", "big", "small",
    "bigger", "smaller", "biggest", "smallest", "large", "larger", "largest", "little", "tall", "short", "taller", "shorter",
    "long", "longer", "longest", "shortest", "good", "bad", "better", "worse", "best", "worst", "easy", "hard", "easier",
    "harder", "easiest", "hardest", "simple", "difficult", "old", "new", "young", "older", "younger", "oldest", "youngest",
    "newer", "newest", "fast", "slow", "faster", "slower", "fastest", "slowest", "cheap", "cheaper", "cheapest", "expensive",
    "rich", "poor", "strong", "weak", "stronger", "weaker", "heavy", "light", "heavier", "lighter", "dark", "bright", 
    "soft", "wet", "dry", "clean", "dirty", "full", "empty", "open", "close", "closed", "safe", "dangerous", "true", "false",
    "right", "left", "wrong", "correct", "incorrect", "front", "back", "top", "bottom", "start", "end", "begin", "finish",
    "stop", "increase", "decrease", "increasing", "decreasing", "raise", "reduce", "add", "subtract", "plus", "minus",
    "multiply", "divide", "buy", "sell", "buying", "selling", "purchase", "sale", "lend", "borrow", "loan", "give", "take",
    "get", "send", "receive", "push", "pull", "import", "export", "upload", "download", "install", "uninstall", "enable",
    "disable", "encode", "decode", "encrypt", "decrypt", "win", "lose", "won", "lost", "love", "hate", "like", "dislike",
    "teach", "learn", "ask", "answer", "question", "read", "write", "save", "load", "create", "delete", "remove", "insert",
    "include", "exclude", "allow", "deny", "accept", "reject", "refuse", "agree", "disagree", "live", "die", "dead", "alive",
    "birth", "death", "born", "died", "hire", "fire", "lock", "unlock", "gain", "loss", "profit", "cost", "revenue", "income",
    "salary", "tax", "debt", "credit", "debit", "asset", "liability", "input", "output", "public", "private", "internal",
    "external", "positive", "negative", "maximum", "minimum", "max", "min", "average", "median", "mean", "total", "major",
    "minor", "primary", "secondary", "upper", "inner", "outer", "indoor", "outdoor", "upstairs", "downstairs", "legal",
    "illegal", "pros", "cons", "advantage", "advantages", "disadvantage", "disadvantages", "benefit", "benefits", "risk",
    "risks", "cause", "causes", "effect", "effects", "symptom", "symptoms", "treatment", "cure", "advice", "avoid", "prevent",
    "north", "south", "east", "west", "northern", "southern", "eastern", "western",
    "winner", "loser", "buyer", "seller", "lender", "borrower", "employer", "employee", "landlord", "tenant", "parent",
    "child", "teacher", "student", "doctor", "nurse", "patient", "client", "server", "author", "reader",
    "upward", "downward", "inward", "outward", "upstream", "downstream", "transparent", "opaque", "translucent",
    "embassy", "consulate", "airline", "kindergarten", "preschool", "alzheimer", "dementia", "aids", "hiv", "semifinal",
    "quarterfinal", "playoff", "playoffs", "twenties", "thirties", "derivative", "integral",
    // The past of verbs, and what was done to things, where it does not end in "ed".
    "began", "begun", "wrote", "written", "gave", "given", "took", "taken", "went", "gone", "saw", "seen", "knew", "known",
    "grew", "grown", "flew", "flown", "threw", "thrown", "drew", "drawn", "ran", "sang", "sung", "wore", "worn", "chose",
    "chosen", "fought", "bought", "sold", "lied", "met", "paid", "sent", "made", "said", "told", "found", "kept", "held",
    "brought", "thought", "taught", "caught", "built", "led", "felt", "became", "came", "spoke", "spoken", "broke",
    "broken", "drove", "driven", "ate", "eaten", "fell", "fallen", "slept", "spent", "stood", "stole", "stolen", "swam",
    "understood", "woke", "woken", "withdrew", "withdrawn", "proven", "hidden", "hid", "rose", "risen", "sank", "bred",
    // People.
    "spouse", "fraternity", "sorority", "homosexual", "heterosexual", "hispanic", "latino", "infant", "newborn", "bride",
    "man", "woman", "men", "women", "boy", "girl", "boys", "girls", "male", "female", "mother", "father", "mom", "dad",
    "son", "daughter", "brother", "sister", "husband", "wife", "uncle", "aunt", "grandmother", "grandfather", "king",
    "queen", "prince", "princess", "baby", "adult", "adults", "children", "kids", "president", "minister", "senator",
    "governor", "mayor", "republican", "democrat", "democratic", "islam", "muslim", "christian", "jewish", "hindu", "buddhist",
    // Colours, metals, food, animals, sports, units.
    "red", "blue", "green", "yellow", "black", "white", "orange", "purple", "pink", "brown", "gray", "grey", "gold",
    "silver", "bronze", "copper", "iron", "steel", "beef", "pork", "chicken", "lamb", "fish", "coffee", "tea", "milk", "water",
    "wine", "beer", "rice", "pasta", "bread", "cheese", "butter", "oil", "sugar", "salt", "apple", "banana", "lemon", "dog",
    "dogs", "cat", "cats", "horse", "horses", "cow", "cows", "pig", "bird", "birds", "wolf", "lion", "tiger", "bear",
    "football", "soccer", "basketball", "baseball", "hockey", "tennis", "golf", "cricket", "rugby", "boxing", "wrestling",
    "semifinals", "quarterfinals", "finals", "championship", "league", "mile", "miles", "km", "kilometer", "kilometers",
    "kilometre", "kilometres", "meter", "meters", "metre", "metres", "cm", "mm", "inch", "inches", "foot", "feet", "yard",
    "yards", "pound", "pounds", "kg", "gram", "grams", "ounce", "ounces", "ton", "tons", "liter", "liters", "litre", "gallon",
    "gallons", "celsius", "fahrenheit", "kelvin", "degree", "degrees", "dollar", "dollars", "euro", "euros", "yen", "usd",
    "eur", "gbp", "cents", "percent", "bit", "bits", "byte", "bytes", "mb", "gb", "tb", "mph", "kmh", "watt", "watts", "volt",
    "volts", "weight", "height", "width", "length", "depth", "speed", "age", "size", "area", "volume", "mass", "distance",
    "temperature", "pressure",
    "windows", "go", "swift", "turkey", "polish", "chile", "ruby", "rust",
];

/// Names of places, languages and systems, as they are written in haste; those that are no other word.
#[rustfmt::skip]
pub(super) const NAMES: &[&str] = &[
    "america", "american", "usa", "uk", "england", "english", "britain", "british", "scotland", "scottish", "wales", "ireland",
    "irish", "france", "french", "germany", "german", "spain", "spanish", "italy", "italian", "portugal", "portuguese",
    "netherlands", "dutch", "belgium", "switzerland", "swiss", "austria", "austrian", "poland", "russia", "russian",
    "ukraine", "turkish", "greece", "greek", "sweden", "swedish", "norway", "norwegian", "denmark", "danish",
    "finland", "finnish", "china", "chinese", "japan", "japanese", "korea", "korean", "india", "indian", "hindi", "pakistan",
    "australia", "australian", "canada", "canadian", "mexico", "mexican", "brazil", "brazilian", "argentina", "peru",
    "colombia", "egypt", "arabic", "arab", "israel", "hebrew", "iran", "iraq", "latin", "africa", "african", "asia", "asian",
    "europe", "european", "london", "paris", "berlin", "rome", "madrid", "vienna", "moscow", "tokyo", "beijing", "shanghai",
    "philippines", "philippine", "manila", "serbia", "belgrade", "yugoslavia", "nigeria", "lagos", "kenya", "nairobi", "lebanon",
    "beirut", "taiwan", "taipei", "malaysia", "cuba", "havana", "afghanistan", "kabul", "alberta", "calgary", "queensland",
    "brisbane", "manhattan", "nyc", "lahore", "karachi", "lithuanian", "latvian", "hiroshima", "nagasaki", "trinidad", "tobago",
    "nordic", "scandinavian", "scandinavia", "soviet", "ussr", "dubai", "uae", "saudi", "arabia", "burma", "myanmar", "laos",
    "indianapolis", "lithuania", "latvia", "syria", "hawaii", "ghana", "delhi", "mumbai", "sydney", "melbourne", "toronto", "chicago", "boston", "texas", "california", "florida", "york",
    "java", "python", "perl", "scala", "linux", "mac", "android", "ios",
];

/// What these end is a person, a degree, a direction, a number in a row, or past.
pub(super) const APART_ENDS: &[&str] =
    &["ed", "er", "ers", "or", "ors", "ist", "ists", "ian", "ians", "est", "ward", "wards", "teen", "th"];

/// What these turn into its opposite.
pub(super) const OPPOSITES: &[&str] = &["un", "in", "im", "ir", "il", "dis", "non", "anti"];
