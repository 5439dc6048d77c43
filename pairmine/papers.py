"""Which published system is which recipe here: the way from a paper that somebody has read to a command.

Citations name the authors, the year and the arXiv id. What a recipe takes
from its paper and what is our own choice stands with its options.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class System(NamedTuple):
    """A published way of building training data. `recipes` are names that `recipes.any_recipe` knows.

    `also` are other names that it goes by.
    """

    name: str
    paper: str
    recipes: tuple[str, ...]
    also: tuple[str, ...] = ()


def _of(name: str, paper: str, *recipes: str, also: tuple[str, ...] = ()) -> System:
    return System(name, paper, recipes, also)


def systems_of(wanted: str) -> list[System]:
    """The systems whose name or citation holds `wanted` as whole words, else those that hold it at all."""
    key = _key(wanted)
    texts = [(system, [_key(text) for text in (system.name, system.paper, *system.also)]) for system in SYSTEMS]
    whole = [system for system, found in texts if any(f" {key} " in f" {text} " for text in found)]
    return whole or [system for system, found in texts if key and any(key in text for text in found)]


def _key(text: str) -> str:
    """The words of `text`: "Align/uniform" is "align uniform"."""
    return " ".join(re.findall(r"[\w.+]+", text.casefold()))


SYSTEMS: tuple[System, ...] = (
    # Written by an LLM
    _of("SynCSE-partial", "Zhang, Lan and He 2023, arXiv 2305.15077", "syncse"),
    _of("SynCSE-scratch", "Zhang, Lan and He 2023, arXiv 2305.15077", "syncse-scratch"),
    _of(
        "MultiCSR",
        "Wang et al. 2023, arXiv 2310.10962",
        "multicsr",
        "similarity",
        "gate",
        "swap",
        "curate",
        "punish-similar",
    ),
    _of("CLAIF", "Cheng et al. 2023, arXiv 2305.01918", "claif", "similarity"),
    _of("CLHAIF", "Cheng et al. 2023, arXiv 2305.01918", "clhaif", "similarity"),
    _of("GCSE", "Lai et al. 2024, arXiv 2409.12887", "gcse-extract", "gcse-swap", "gcse", "gate", "gaussian-decay"),
    _of(
        "Ranking sentences generation",
        "He et al. 2025, arXiv 2502.13656",
        "ladder",
        "monotone",
        also=("Ranking Sentences Generation",),
    ),
    _of("LM-CPPF", "Abaskohi, Rothe and Yaghoobzadeh 2023, arXiv 2305.18169", "fewshot-paraphrase"),
    _of(
        "MEQ, minimally edited questions", "Zhang et al. 2023, arXiv 2305.14441", "min-edit-questions", "edit-distance"
    ),
    _of("PTEB", "Frank and Afli 2025, arXiv 2510.06730", "paraphrase", "paraphrase-robustness"),
    _of("TULIP, its text side", "Tang et al. 2025, arXiv 2503.15485", "pos-neg-caption"),
    _of("CLP", "Yu 2024, arXiv 2412.17364", "neg-own-query", "ann"),
    _of("SetCSE", "Liu 2024, arXiv 2404.17606", "sets", "concept-sets"),
    _of("TPP-LLM-Embedding", "Liu and Quan 2024, arXiv 2410.14043", "describe-record"),
    _of("C-RAG", "Ranaldi, Valentino and Freitas 2024, arXiv 2410.22874", "contrastive-rationale"),
    _of("Contrastive in-context learning", "Gao and Das 2024, arXiv 2401.17390", "bad-examples"),
    _of("TF-TTCL", "Zheng et al. 2026, arXiv 2604.13552", "role-views"),
    _of("Sub-sentence encoder", "Chen et al. 2023, arXiv 2311.04335", "propositions"),
    _of("AGRaME", "Reddy et al. 2024, arXiv 2405.15028", "multi-grain", "multi-grain-write"),
    _of("SRA-CL", "Cui et al. 2025, arXiv 2503.04162", "profile", "neighbors"),
    _of("CLIM", "Li et al. 2020, arXiv 2010.16088", "labels"),
    _of("LM-SupCon", "Jian, Gao and Vosoughi 2022, arXiv 2205.01308", "labels", "template-views"),
    _of("WikiDes", "Ta et al. 2022, arXiv 2209.13101", "descriptions", "candidates-rank"),
    _of(
        "E5-Mistral",
        "Wang et al. 2024, arXiv 2401.00368",
        "short-long",
        "long-short",
        "short-short",
        "long-long",
        "sts-write",
        "bitext",
        "queries",
    ),
    _of("Qwen3 Embedding", "Zhang et al. 2025, arXiv 2506.05176", "personas", "queries", also=("Qwen3-Embedding",)),
    _of("ragas", "Es et al. 2023, arXiv 2309.15217", "multi-hop", "personas"),
    _of("Gecko", "Lee et al. 2024, arXiv 2403.20327", "task-queries", "relabel"),
    _of("doc2query", "Nogueira et al. 2019, arXiv 1904.08375", "keyword-queries"),
    _of("InPars", "Bonifacio et al. 2022, arXiv 2202.05144", "keyword-queries"),
    _of("FactCC", "Kryściński et al. 2019, arXiv 1910.12840", "doc-summary"),
    _of("SNLI, its writing task", "Bowman et al. 2015, arXiv 1508.05326", "nli-write"),
    # Views of one text
    _of("SimCSE, unsupervised", "Gao, Yao and Chen 2021, arXiv 2104.08821", "identity"),
    _of("ESimCSE", "Wu et al. 2021, arXiv 2109.04380", "repeat"),
    _of("ConSERT", "Yan et al. 2021, arXiv 2105.11741", "shuffle", "cutoff"),
    _of("CLEAR", "Wu et al. 2020, arXiv 2012.15466", "clear"),
    _of(
        "Document contrastive augmentation",
        "Luo et al. 2021, arXiv 2103.14542",
        "words",
        also=("Doc contrastive augmentation",),
    ),
    _of("Contriever", "Izacard et al. 2021, arXiv 2112.09118", "crops"),
    _of("ICT", "Lee, Chang and Toutanova 2019, arXiv 1906.00300", "ict"),
    _of("DeCLUTR", "Giorgi et al. 2020, arXiv 2006.03659", "spans"),
    _of("CCP", "Wu et al. 2022, arXiv 2206.03281", "context-window"),
    _of("Quick-Thoughts", "Logeswaran and Lee 2018, arXiv 1803.02893", "adjacent"),
    _of("Discourse objectives", "Jernite, Bowman and Sontag 2017, arXiv 1705.00557", "discourse"),
    _of("DiscoEval", "Chen, Chu and Gimpel 2019, arXiv 1909.00142", "outline"),
    _of("Paragraph sentence content", "Vu and Iyyer 2019, arXiv 1906.03656", "contains"),
    _of("Composition-contrastive learning", "Chanchani and Huang 2023, arXiv 2307.07380", "split"),
    _of("DiffCSE", "Chuang et al. 2022, arXiv 2204.10298", "mlm-edit"),
    _of("CPADE", "Ma et al. 2022, arXiv 2208.09846", "mask-two"),
    _of("DenoSent", "Wang et al. 2024, arXiv 2401.13621", "noise"),
    _of("SCT", "Limkonchotiwat et al. 2023, arXiv 2311.03228", "backtranslation", "backtranslate"),
    _of("CoCoSoDa", "Shi et al. 2022, arXiv 2204.03293", "code-soft"),
    _of("PEARL", "Chen, Varoquaux and Suchanek 2024, arXiv 2401.10407", "phrase"),
    _of("BERT into a BiLSTM", "Tang et al. 2019, arXiv 1903.12136", "distill-pool", also=("BERT->BiLSTM",)),
    _of("RSD", "Vamvas and Sennrich 2023, arXiv 2305.13303", "doc-diff"),
    _of("PromptBERT", "Jiang et al. 2022, arXiv 2201.04337", "template-views"),
    _of("PCL", "Wu et al. 2022, arXiv 2201.12093", "template-views"),
    _of("MMGeoLM, its text side", "Sun et al. 2025, arXiv 2505.20152", "attribute-flip", "near-document"),
    _of("TSCTM", "Wu, Luu and Dong 2022, arXiv 2211.12878", "labels"),
    _of("Poly-view", "Shidani et al. 2024, arXiv 2403.05490", "views"),
    _of("Time Control", "Wang et al. 2022, arXiv 2203.11370", "ordered-triples"),
    _of("Focused learning", "Wu et al. 2024, arXiv 2411.05928", "subcontext"),
    # Structure that is there
    _of("SimCSE, supervised", "Gao, Yao and Chen 2021, arXiv 2104.08821", "nli"),
    _of("InferSent", "Conneau et al. 2017, arXiv 1705.02364", "nli"),
    _of("Sentence-BERT", "Reimers and Gurevych 2019, arXiv 1908.10084", "nli", "sts", "sections", also=("SBERT",)),
    _of("Sentence-T5", "Ni et al. 2021, arXiv 2108.08877", "nli", also=("ST5",)),
    _of("m-ST5", "Yano et al. 2024, arXiv 2403.17528", "nli"),
    _of("Small-LM contrastive fine-tuning", "Ukarapol, Lee and Xin 2024, arXiv 2408.00690", "nli"),
    _of("ViCLSR", "Huynh, Nguyen and Nguyen 2026, arXiv 2603.21084", "nli"),
    _of("MahaSBERT", "Joshi et al. 2022, arXiv 2211.11187", "nli", "translate", "sts"),
    _of("DefSent", "Tsukagoshi, Sasano and Takeda 2021, arXiv 2105.04339", "definitions"),
    _of("DefSent+", "Liu 2024, arXiv 2405.16153", "definitions"),
    _of(
        "Comparison of supervision signals",
        "Tsukagoshi, Sasano and Takeda 2022, arXiv 2202.02990",
        "nli",
        "definitions",
        "mix",
    ),
    _of("FusionSent", "Schopf et al. 2024, arXiv 2410.05770", "label-text", "labels"),
    _of("SetFit", "Tunstall et al. 2022, arXiv 2209.11055", "labels"),
    _of("Contrast is all you need", "Kilic, Bex and Gatt 2023, arXiv 2307.02882", "labels"),
    _of("SPECTER", "Cohan et al. 2020, arXiv 2004.07180", "citations"),
    _of(
        "Mixture of experts by co-citation",
        "Hallee et al. 2024, arXiv 2401.15713",
        "co-citation",
        also=("MoE co-citation",),
    ),
    _of("HEADLINES", "Silcock and Dell 2023, arXiv 2306.17810", "same-source"),
    _of(
        "Mined paraphrases, Polish", "Dadas 2022, arXiv 2207.12759", "pivot", "edit-ratio", also=("Mined paraphrases",)
    ),
    _of(
        "Multilingual distillation",
        "Reimers and Gurevych 2020, arXiv 2004.09813",
        "parallel",
        "vectors",
        also=("Multilingual KD",),
    ),
    _of("LEALLA", "Mao and Nakagawa 2023, arXiv 2302.08387", "parallel", "vectors"),
    _of("InfoXLM", "Chi et al. 2020, arXiv 2007.07834", "parallel"),
    _of("MEXMA", "Janeiro et al. 2024, arXiv 2409.12737", "parallel"),
    _of("VMSST", "Wieting et al. 2022, arXiv 2212.10726", "parallel-groups"),
    _of("1-to-K", "Nie et al. 2024, arXiv 2406.18254", "parallel-groups"),
    _of("Phrase-BERT", "Wang, Thompson and Iyyer 2021, arXiv 2109.06304", "phrase-context"),
    _of("Triple-Encoders", "Erker et al. 2024, arXiv 2402.12332", "dialogue"),
    _of("Curved contrastive learning", "Erker, Schaffer and Spanakis 2022, arXiv 2211.07591", "dialogue"),
    _of("Universal Sentence Encoder", "Cer et al. 2018, arXiv 1803.11175", "reply", also=("USE",)),
    _of("GCL", "Zhu et al. 2024, arXiv 2404.08535", "ranked-log", also=("GCL Marqo",)),
    _of("CLIPPINGS, its text side", "Arora et al. 2023, arXiv 2304.03464", "aliases", "ocr"),
    _of("MCSE, its text side", "Zhang et al. 2022, arXiv 2204.10931", "co-captions"),
    _of("MuCo", "Gu et al. 2026, arXiv 2602.06393", "multi-queries"),
    _of("I can't believe there's no images", "Gu, Clark and Kembhavi 2022, arXiv 2211.09778", "rewrite"),
    # Mining, weights, scores, batches
    _of("DebCSE", "Miao, Du and Zhang 2023, arXiv 2309.07396", "inverse-propensity", "inverse-propensity-pick"),
    _of("SimANS", "Zhou et al. 2022, arXiv 2210.11773", "simans"),
    _of("RotatE's self-adversarial sampling", "Sun et al. 2019, arXiv 1902.10197", "softmax-pick"),
    _of("Maximal marginal relevance", "Carbonell and Goldstein 1998, SIGIR", "mmr", also=("MMR",)),
    _of("DCLR", "Zhou et al. 2022, arXiv 2205.00656", "punish-similar"),
    _of("ClusterNS", "Deng et al. 2023, arXiv 2305.09892", "clusters", "same-cluster"),
    _of("MoCo dual view with a filter of hard negatives", "Hoang et al. 2025, arXiv 2501.16360", "band"),
    _of("ANCE", "Xiong et al. 2020, arXiv 2007.00808", "ann"),
    _of("R-GPL", "Yuksel, Rau and Kamps 2025, arXiv 2501.14434", "ann"),
    _of("Conan-embedding", "Li et al. 2024, arXiv 2408.15710", "ann"),
    _of("Reciprocal rank fusion", "Cormack, Clarke and Buettcher 2009, SIGIR", "rrf", also=("RRF",)),
    _of("GTE", "Li et al. 2023, arXiv 2308.03281", "temperature", "source-batches"),
    _of(
        "Embedding and clustering",
        "Merrick 2024, arXiv 2407.18887",
        "cluster-batches",
        also=("Embedding and Clustering",),
    ),
    _of("DSE", "Barkan et al. 2019, arXiv 1908.05161", "cross-encoder"),
    _of("DistilCSE", "Gao et al. 2021, arXiv 2112.05638", "vectors"),
    _of("Czech small models", "Bednář et al. 2023, arXiv 2311.13921", "vectors", "identity"),
    _of("LLM-QL", "Zhang et al. 2025, arXiv 2504.05216", "ql"),
    _of("PROP", "Ma et al. 2020, arXiv 2010.10137", "representative-words"),
    _of("B-PROP", "Ma et al. 2021, arXiv 2104.09791", "representative-words"),
    _of(
        "SFT or contrastive learning for reranking",
        "Dai et al. 2025, arXiv 2510.14824",
        "reranker-sft",
        also=("SFT vs CL",),
    ),
    _of("DiHT", "Radenovic et al. 2023, arXiv 2301.02280", "complexity", "importance"),
    _of("SupReMix", "Wu et al. 2023, arXiv 2309.16633", "ordinal"),
    _of("ConR", "Keramati, Meng and Evans 2023, arXiv 2309.06651", "ordinal"),
    _of("Alignment and uniformity", "Wang and Isola 2020, arXiv 2005.10242", "align-uniform", also=("Align/uniform",)),
    _of("EvalRank", "Wang, Kuo and Li 2022, arXiv 2203.02679", "eval-rank"),
    _of("NV-Retriever", "Moreira et al. 2024, arXiv 2407.15831", "margin"),
    _of("RocketQA", "Qu et al. 2020, arXiv 2010.08191", "candidate-gate"),
    _of("RLHN", "Thakur et al. 2025, arXiv 2505.16967", "relabel-negatives"),
    _of("Nomic Embed", "Nussbaum et al. 2024, arXiv 2402.01613", "consistency", also=("contrastors",)),
    _of("KaLM-Embedding", "Hu et al. 2025, arXiv 2501.01028", "consistency"),
    _of("E5", "Wang et al. 2022, arXiv 2212.03533", "title", "title-write"),
    _of("CodeSearchNet", "Husain et al. 2019, arXiv 1909.09436", "code"),
)
