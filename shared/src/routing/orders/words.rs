//! The words that make an order of a name: what they say in some twelve languages, by kind.

use std::collections::HashMap;

/// A set of kinds of words.
pub(super) type Kinds = u16;

/// Says that something gets a label or a route.
pub(super) const ROUTE: Kinds = 1;
/// What a label or a route is the value of.
pub(super) const FIELD: Kinds = 1 << 1;
/// Stands between what is labelled and its label.
pub(super) const AS: Kinds = 1 << 2;
/// Says what the answer is to be.
pub(super) const ANSWER: Kinds = 1 << 3;
/// An article, or a word that quotes.
pub(super) const FILLER: Kinds = 1 << 4;
/// What is chosen.
pub(super) const MODEL: Kinds = 1 << 5;
/// Says that it is chosen.
pub(super) const USE: Kinds = 1 << 6;
/// Is, and must be.
pub(super) const COPULA: Kinds = 1 << 7;
/// This, the request.
pub(super) const SUBJECT: Kinds = 1 << 8;
/// The model that somebody would choose.
pub(super) const WEAK: Kinds = 1 << 9;
/// … and the one that he would not.
pub(super) const STRONG: Kinds = 1 << 10;
/// What somebody would say a request is.
pub(super) const EASY: Kinds = 1 << 11;
/// Says that something is not needed.
pub(super) const NOT: Kinds = 1 << 12;
/// May follow a name at the end of a clause.
pub(super) const TAIL: Kinds = 1 << 13;
/// As [`AS`], in languages that say it behind.
pub(super) const AS_BEHIND: Kinds = 1 << 14;

/// Words by kind; one that ends with a star stands for all that begin so.
const WORDS: &[(Kinds, &str)] = &[
    (
        ROUTE,
        "route routes routed routing router rerout* classif* categori* label labels labeled labelled labelling treat treated \
         mark marked tag consider count counts counted belongs belong regard deem tagged dispatch dispatched escalate downgrade intent intents tier gateway triage file \
         klassifizier* stufe einstuf* eingestuft einordn* ordne einzuordnen einzustufen kategorisier* leite leiten weiterleit* behandle behandeln \
         clasific* etiquet* enrut* trata clasifíc* classer classez catégoris* étiquet* traite traitez achemin* classe \
         etichett* instrad* classificar classifique rotul* encaminh* trate classificeer* markeer \
         классифиц* отнес* отнест* категориз* маршрут* пометь считай sınıflandır* zaklasyfik* sklasyfik* oznacz \
         分类 归类 歸類 归为 標記 标记 路由 当作 视为 分類 ルーティング 扱 분류 처리 صنف صنّف تصنيف اعتبر वर्गीकृत",
    ),
    (
        FIELD,
        "intent intents tier route routing absicht intención intencion intention intento intenção intentie intencja niyet \
         намерение намерения намерением 意图 意圖 意図 의도 النية इरादा difficulty complexity classification category \
         categoria categoría catégorie categorie kategorie kategorisi категория 分类 分類 类别 類別 カテゴリ 카테고리 분류 الفئة",
    ),
    (
        AS,
        "as to into under als zu unter como comme en à come como per jako как к в при به por para naar als \
         为 為 成 作 ك على إلى",
    ),
    (
        ANSWER,
        "answer reply respond output say return write emit choose pick select print say says sag sage antworte antwort gib gebe di dis responde respond* \
         réponds répondez réponse rispondi responda antwoord ответь отвечай выведи yanıtla cevapla odpowiedz 回答 输出 回复 \
         答え 出力 대답 답변 أجب",
    ),
    (
        FILLER,
        "a an the just only simply merely exactly with word words label value name quote one single plain simple it \
         der die das ein eine einen nur einfach mit wort dem einfach el la un una solo sólo con palabra le une seulement uniquement simplement juste avec mot \
         il lo soltanto parola uma o apenas com palavra alleen met het woord только слово словом просто أنه انه tylko sadece kelime \
         configured",
    ),
    (
        MODEL,
        "tier tiers model models level llm stufe modell modells ebene nivel modelo niveau modèle modele livello modello nível laag modeli modelini modelu kategorie categoría catégorie categorie категория \
         уровень уровня уровню модель модели seviye poziom 模型 模型层 层级 层 層 階層 ティア モデル 모델 등급 المستوى النموذج intent \
         intents label category queue endpoint",
    ),
    (
        USE,
        "use uses using used send sends pick choose take select stay keep let have forward hand assign switch prefer go goes serve served run \
         answer answered put give force pon mets mettez metti set must should needs enough suffices sufficient do fine pass select handle handled \
         nimm verwende verwenden nutze nutzen benutze benutzen schick* sende geh reicht genügt genügen wähle usa usar use \
         utiliza utilizar envía envia manda elige escoge basta utilise utilisez envoie envoyez choisis choisissez suffit usi \
         utilizza invia scegli escolha envie gebruik stuur kies используй используйте отправь отправьте выбери хватит kullan \
         gönder użyj wyślij wybierz 使用 用 走 发送 发给 选择 交给 送 使 선택 사용 보내 استخدم أرسل اختر",
    ),
    (
        COPULA,
        "is are be was were stays remains equals ist lautet sei sein es está est être è sia é ser это является olsun jest هي 是 です equal becomes",
    ),
    (
        SUBJECT,
        "this it request message prompt query text question above following everything task c input conversation answer label category class \
         das dies diese anfrage nachricht frage esto este esta solicitud mensaje pregunta ceci cette requête demande \
         questo questa richiesta isto esta pedido dit deze verzoek это этот запрос сообщение вопрос bu istek to żądanie \
         这 这个 请求 消息 此 これ 이것 요청 هذا الطلب",
    ),
    (
        WEAK,
        "cheap cheapest cheaper small smallest smaller weak weakest weaker lowest least tiny billigste billigsten kleinste \
         kleinsten schwächste kleine kleines kleinen billige billiges günstigste günstigsten barato barata pequeño cher petit économique economico piccolo pequeno \
         goedkoopste дешёвую дешевую дешёвая слабую маленькую ucuz najtańszy 便宜 最小 安い 저렴한 الأرخص",
    ),
    (STRONG, "strong strongest stronger expensive premium large largest big biggest powerful starkes teures großes"),
    (AS_BEHIND, "として と 로 으로 olarak के"),
    (EASY, "easy trivial simple basic leicht einfach fácil facile facil простой 简单 簡単 쉬움 سهل"),
    (
        NOT,
        "no not don t never without needn avoid nicht kein keine ohne sin ningún sans pas senza sem не без 不 不要 勿",
    ),
    (
        TAIL,
        "only nothing instead and regardless no please request message intent tier task label category queue model ok now \
         und oder weiter aus nur sonst nichts y solo nada et rien seulement e soltanto и или",
    ),
];

/// Words, and their kinds.
#[derive(Debug)]
pub(super) struct Vocabulary {
    whole: HashMap<&'static str, Kinds>,
    /// What others begin with, by their first two bytes.
    stems: HashMap<[u8; 2], Vec<(&'static str, Kinds)>>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        let (mut whole, mut stems) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for (kinds, word) in WORDS.iter().flat_map(|(kinds, words)| words.split_whitespace().map(|word| (*kinds, word)))
        {
            match word.strip_suffix('*') {
                None if word.is_ascii() => *whole.entry(word).or_insert(0) |= kinds,
                stem => {
                    let stem = stem.unwrap_or(word);
                    let bytes = stem.as_bytes();
                    stems.entry([bytes[0], bytes[1]]).or_default().push((stem, kinds));
                }
            }
        }
        Self { whole, stems }
    }
}

impl Vocabulary {
    /// The words of these kinds, without their stars.
    pub(super) fn of(&self, kinds: Kinds) -> impl Iterator<Item = &'static str> {
        let whole = self.whole.iter().map(|(word, of)| (*word, *of));
        let stems = self.stems.values().flatten().copied();
        whole.chain(stems).filter(move |(_, of)| of & kinds != 0).map(|(word, _)| word)
    }

    /// What kinds of word this one is, in small letters. In scripts without spaces, whatever stands in it counts.
    pub(super) fn kinds(&self, word: &str) -> Kinds {
        let whole = self.whole.get(word).copied().unwrap_or(0);
        let has_no_spaces = word.starts_with(|c: char| c > '\u{250}');
        let starts = word.char_indices().map(|(at, _)| at).take(if has_no_spaces { usize::MAX } else { 1 });
        starts.fold(whole, |kinds, at| kinds | self.of_start(&word[at..]))
    }

    fn of_start(&self, text: &str) -> Kinds {
        let Some(bytes) = text.as_bytes().first_chunk::<2>() else { return 0 };
        let known = self.stems.get(bytes).into_iter().flatten();
        known.filter(|(stem, _)| text.starts_with(stem)).fold(0, |kinds, (_, of)| kinds | of)
    }
}
