"""Published methods that are an option of a command, not a recipe of their own: weights, rules, batches, scores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A published way of choosing, weighting, scoring or ordering pairs, and the option that does it.

    `option` is the command with the option, as it is typed; `defaults` says which numbers come from
    the paper and which are ours. `needs` is as in `recipes.Recipe`.
    """

    name: str
    group: str
    summary: str
    paper: str
    needs: str
    option: str
    defaults: str
    example: str


_WEIGHTS = (
    Method(
        "punish-similar",
        "weights",
        "Weight 0 for negatives that a frozen encoder takes for copies of their query.",
        "DCLR (Zhou et al. 2022, arXiv 2205.00656); stage 3 of MultiCSR (Wang et al. 2023, arXiv 2310.10962)",
        "encoder",
        "pairmine filter --weight punish-similar[:phi=0.90,by=COLUMN]",
        "phi 0.90 is the paper's for BERT (0.85 for RoBERTa, 0.95 in MultiCSR)",
        "pairmine filter scored.parquet --no-relative-margin --weight punish-similar:phi=0.85 -o pairs.parquet",
    ),
    Method(
        "gaussian-decay",
        "weights",
        "Negatives weigh less the nearer a frozen encoder sees them to the positive.",
        "GCSE (Lai et al. 2024, arXiv 2409.12887)",
        "encoder",
        "pairmine filter --weight gaussian-decay[:sigma=0.17,by=COLUMN]",
        "sigma 0.17 is the paper's for BERT; there the distance is the student's from the frozen model, "
        "ours the negative's from the positive by the frozen model; the score column stays for trainers",
        "pairmine filter scored.parquet --gate st:0.75:0.80 --weight gaussian-decay -o pairs.parquet",
    ),
    Method(
        "inverse-propensity",
        "weights",
        "Pairs whose look is rare for how near they are in meaning weigh more.",
        "DebCSE (Miao et al. 2023, arXiv 2309.07396)",
        "encoder",
        "pairmine filter --weight inverse-propensity[:bins=10,bands=5,max=5,by=COLUMN]",
        "formula, 10 bins of the edit ratio, 5 bands of the score and the clip at 5 are ours",
        "pairmine filter scored.parquet --no-relative-margin --weight inverse-propensity -o pairs.parquet",
    ),
    Method(
        "ordinal",
        "weights",
        "Rows whose grade is near that of the best positive weigh more.",
        "after SupReMix (Wu et al. 2023, arXiv 2309.16633) and ConR (Keramati et al. 2023, arXiv 2309.06651)",
        "none",
        "pairmine filter --weight ordinal[:tau=0.5,by=grade]",
        "exp(-distance / tau) and tau 0.5 are ours",
        "pairmine filter graded.parquet --no-pick --weight ordinal -o weighed.parquet",
    ),
    Method(
        "importance",
        "weights",
        "The harder of a query's negatives weigh more, their mean stays 1.",
        "after DiHT (Radenovic et al. 2023, arXiv 2301.02280)",
        "none",
        "pairmine filter --weight importance[:temperature=0.1,by=COLUMN]",
        "temperature 0.1 is ours",
        "pairmine filter scored.parquet --by st --no-relative-margin --weight importance -o pairs.parquet",
    ),
)
_PICKS = (
    Method(
        "inverse-propensity-pick",
        "rules",
        "Negatives are drawn so that they are not only unlike their query in wording.",
        "DebCSE (Miao et al. 2023, arXiv 2309.07396)",
        "encoder",
        "pairmine filter --pick inverse-propensity",
        "formula and numbers are ours, as of the weight",
        "pairmine filter scored.parquet --by st --pick inverse-propensity --pool 20 -o pairs.parquet",
    ),
    Method(
        "simans",
        "rules",
        "Ambiguous negatives: a sample of those that score near their query's positives.",
        "SimANS (Zhou et al. 2022, arXiv 2210.11773)",
        "encoder",
        "pairmine filter --pick simans[:a=200,b=0,pool=N]",
        "the paper has a 0.5 and b 0 (TriviaQA) or 1 (NQ) for dot products; a 200 for cosines and probabilities and "
        "drawing without replacement are ours, and of several positives --anchor says which",
        "pairmine filter mined.parquet --by dense --no-relative-margin --pick simans -o pairs.parquet",
    ),
    Method(
        "softmax-pick",
        "rules",
        "The harder a candidate, the likelier it is drawn.",
        "after self-adversarial sampling (Sun et al. 2019, arXiv 1902.10197) and hard negatives by concentration "
        "(Robinson et al. 2021, arXiv 2010.04592)",
        "encoder",
        "pairmine filter --pick softmax[:temperature=0.05,pool=N]",
        "temperature 0.05 for cosines and probabilities is ours; there the weights act as the model trains",
        "pairmine filter mined.parquet --by dense --pick softmax -o pairs.parquet",
    ),
    Method(
        "mmr",
        "rules",
        "Negatives that are hard and unlike each other.",
        "maximal marginal relevance (Carbonell and Goldstein 1998, SIGIR)",
        "encoder",
        "pairmine filter --pick mmr[:lambda=0.7,pool=50]",
        "lambda and pool are ours",
        "pairmine filter vectors.parquet --by dense --pick mmr -o pairs.parquet",
    ),
)
_GATES = (
    Method(
        "suspects",
        "rules",
        "Candidates that are high in score and nearer to the known positives than to the other candidates leave.",
        "ours; the number behind it, score_feedback, is Rocchio's relevance feedback (1971, in Salton, ed., The SMART "
        "Retrieval System)",
        "encoder",
        "pairmine filter --suspects N [--suspects-by COLUMNS] [--suspects-pool M]",
        "10 for a query with one positive, the root of their number times as many for more, out of the best 200, never "
        "so many that fewer than --negatives are left, are ours; on where 'mine' wrote score_feedback",
        "pairmine filter mined.parquet --suspects 15 --negatives 5 -o pairs.parquet",
    ),
    Method(
        "candidate-gate",
        "rules",
        "A cross-encoder denoises candidates: above is a positive, below a negative, between nothing or a judge's.",
        "RocketQA (Qu et al. 2020, arXiv 2010.08191)",
        "encoder",
        "pairmine filter --candidate-gate COLUMN[:LOW:HIGH][:judge=COLUMN:T]",
        "0.1 and 0.9 are the paper's",
        "pairmine filter scored.parquet --candidate-gate ce:0.1:0.9 -o pairs.parquet",
    ),
    Method(
        "relabel-negatives",
        "rules",
        "False negatives become positives in place of leaving.",
        "RLHN (Thakur et al. 2025, arXiv 2505.16967)",
        "encoder",
        "pairmine filter --candidate-gate COLUMN:LOW:HIGH --action gate-high=relabel",
        "the paper has two LLMs decide; any score column does here, an LLM's as well",
        "pairmine filter scored.parquet --candidate-gate ce:0.1:0.9 --action gate-high=relabel -o pairs.parquet",
    ),
    Method(
        "consistency",
        "rules",
        "Positives that too many candidates of their query outscore leave.",
        "contrastors (Nussbaum et al. 2024, arXiv 2402.01613); KaLM-Embedding (Hu et al. 2025, arXiv 2501.01028)",
        "encoder",
        "pairmine filter --consistency [COLUMN:]K",
        "K is yours to give; contrastors keeps a positive among the 2 best",
        "pairmine filter mined.parquet --consistency dense:20 -o pairs.parquet",
    ),
    Method(
        "gate",
        "rules",
        "A score decides what is a positive and what a negative, whatever it was written as.",
        "GCSE (Lai et al. 2024, arXiv 2409.12887)",
        "encoder",
        "pairmine filter --gate COLUMN:LOW:HIGH",
        "0.75 and 0.80 are the paper's",
        "pairmine filter scored.parquet --gate st:0.75:0.80 -o pairs.parquet",
    ),
    Method(
        "swap",
        "rules",
        "A negative that scores above its positive changes places with it.",
        "MultiCSR (Wang et al. 2023, arXiv 2310.10962)",
        "llm",
        "pairmine filter --swap-by COLUMN",
        "",
        "pairmine filter judged.parquet --swap-by llm --no-pick -o pairs.parquet",
    ),
    Method(
        "curate",
        "rules",
        "Positives and negatives that do not live up to their role leave.",
        "MultiCSR (Wang et al. 2023, arXiv 2310.10962)",
        "llm",
        "pairmine filter --curate COLUMN:LOW:HIGH",
        "3 of 5 for both, not equal, are the paper's",
        "pairmine filter judged.parquet --swap-by llm --curate llm:0.6:0.6 -o pairs.parquet",
    ),
    Method(
        "monotone",
        "rules",
        "Ladders of variants stay only where their scores fall from step to step.",
        "after Ranking Sentences Generation (the ladder recipe's paper)",
        "encoder",
        "pairmine filter --monotone COLUMN[:TOLERANCE[:cut]]",
        "tolerance 0 and dropping whole chains are ours",
        "pairmine filter ladder.parquet --no-pick --monotone st:0.02:cut -o ladder2.parquet",
    ),
    Method(
        "same-cluster",
        "rules",
        "Candidates in the cluster of a positive are suspected to answer the query too.",
        "ClusterNS (Deng et al. 2023, arXiv 2305.09892)",
        "encoder",
        "pairmine filter --drop-same-cluster",
        "the paper keeps them within a margin while it trains; leaving them out is ours",
        "pairmine filter mined.parquet --by dense --drop-same-cluster -o pairs.parquet",
    ),
    Method(
        "complexity",
        "rules",
        "Documents of too few words or clauses leave.",
        "after DiHT (Radenovic et al. 2023, arXiv 2301.02280)",
        "none",
        "pairmine filter --complexity WORDS[:CLAUSES]",
        "5 words is ours; the paper parses captions for relations, this counts words and parts between marks",
        "pairmine filter scored.parquet --complexity 5 -o pairs.parquet",
    ),
    Method(
        "edit-ratio",
        "rules",
        "Positives that are almost the query's own text leave.",
        "mined paraphrases for Polish (the pivot recipe's paper)",
        "none",
        "pairmine filter --max-edit-ratio RATIO",
        "0.99 is the paper's",
        "pairmine filter scored.parquet --no-pick --max-edit-ratio 0.99 -o pairs.parquet",
    ),
    Method(
        "edit-distance",
        "rules",
        "Only negatives a few words from the query stay: minimal edits.",
        "minimally edited questions (the min-edit-questions recipe's paper)",
        "none",
        "pairmine filter --edit-distance A:B",
        "1:4 is ours",
        "pairmine filter scored.parquet --no-pick --edit-distance 1:4 -o pairs.parquet",
    ),
)

_MINING = (
    Method(
        "ann",
        "mining",
        "Negatives out of the current model's own ranking, mined anew as it learns, and what that changed.",
        "ANCE (Xiong et al. 2020, arXiv 2007.00808); R-GPL (Yuksel, Rau and Kamps 2025, arXiv 2501.14434); "
        "Conan-embedding (Li et al. 2024, arXiv 2408.15710)",
        "encoder",
        "pairmine mine --retriever st:CHECKPOINT [--since OLD]",
        "the depth of 100 is ours; ANCE and R-GPL mine again while they train, here a target of make does; "
        "--since counts the negatives of OLD that have become easy by the rule of Conan, 1.15 and 0.8, which has it "
        "for their mean and here it is for each",
        "pairmine mine pairs.parquet --corpus corpus.jsonl --retriever st:checkpoint-1000 --since round-1.parquet "
        "-o round-2.parquet",
    ),
    Method(
        "band",
        "mining",
        "The most similar candidates without the suspiciously similar: a band of ranks or of scores.",
        "MoCo dual view with a filter of hard negatives (Hoang et al. 2025, arXiv 2501.16360)",
        "encoder",
        "pairmine mine --ranks A:B, or --score-range LOW:HIGH",
        "the paper keeps the most similar and drops noisy ones; every number is yours to give",
        "pairmine mine pairs.parquet --corpus corpus.jsonl --ranks 11:50 -o mined.parquet",
    ),
    Method(
        "clusters",
        "mining",
        "Candidates out of the cluster that is second nearest to the positive.",
        "ClusterNS (Deng et al. 2023, arXiv 2305.09892)",
        "encoder",
        "pairmine mine --clusters K [--within second|all]",
        "128 clusters are the paper's, to be given; it takes the centroid itself as the negative, documents are ours",
        "pairmine mine pairs.parquet --corpus corpus.jsonl --clusters 128 --depth 10 -o mined.parquet",
    ),
    Method(
        "near-document",
        "mining",
        "Candidates that are near the positive document, not the query.",
        "SRA-CL (Cui et al. 2025, arXiv 2503.04162); MMGeoLM, its text side (Sun et al. 2025, arXiv 2505.20152)",
        "encoder",
        "pairmine mine --search-with positive",
        "a query's first positive is ours",
        "pairmine mine pairs.parquet --corpus corpus.jsonl --search-with positive -o mined.parquet",
    ),
    Method(
        "neighbors",
        "mining",
        "Nearest texts as positives, where an encoder finds them near enough.",
        "SRA-CL (Cui et al. 2025, arXiv 2503.04162)",
        "encoder",
        "pairmine mine, then filter --gate",
        "depth and thresholds are ours",
        "pairmine derive identity profiles.jsonl -o - | pairmine mine - --depth 3 -o - | "
        "pairmine filter - --gate dense:0.5:0.75 --no-relative-margin -o pairs.parquet",
    ),
    Method(
        "rrf",
        "mining",
        "One list out of those of several retrievers, by the sum of their reciprocal ranks.",
        "reciprocal rank fusion (Cormack, Clarke and Buettcher 2009, SIGIR)",
        "none",
        "pairmine mine --retriever A --retriever B --fuse rrf [--rrf-k K --fuse-weights A,B --keep N]",
        "60 is the paper's; weights, and that each list ends at the depth, are ours",
        "pairmine mine pairs.parquet --corpus corpus.jsonl --retriever st:all-MiniLM-L6-v2 --retriever bm25 "
        "--fuse rrf -o mined.parquet",
    ),
    Method(
        "margin",
        "rules",
        "A candidate leaves that scores too near to the query's positive.",
        "NV-Retriever (Moreira et al. 2024, arXiv 2407.15831)",
        "encoder",
        "pairmine filter --relative-margin M, or --absolute-margin M [--anchor min|median|mean|max]",
        "0.05 is the paper's; that of several positives the lowest counts is ours, as it is sentence-transformers'",
        "pairmine filter mined.parquet --relative-margin 0.05 --negatives 7 -o pairs.parquet",
    ),
)
_SCORES = (
    Method(
        "cross-encoder",
        "scores",
        "What a cross-encoder thinks of every pair, to filter by or to distil from.",
        "DSE (Barkan et al. 2019, arXiv 1908.05161)",
        "cross-encoder",
        "pairmine score --scorer ce:MODEL",
        "none",
        "pairmine score mined.parquet --scorer ce:cross-encoder/ms-marco-MiniLM-L6-v2 -o scored.parquet",
    ),
    Method(
        "ql",
        "scores",
        "How likely a language model finds the query, given the document.",
        "LLM-QL (Zhang et al. 2025, arXiv 2504.05216); UPR (Sachan et al. 2022, arXiv 2204.07496)",
        "llm",
        "pairmine score --scorer ql:vllm:MODEL, ql:openai:MODEL or ql:hf:MODEL",
        "the mean over the query's tokens is UPR's, the words of the prompt are ours",
        "pairmine score pairs.parquet --scorer ql:vllm:Qwen/Qwen3-0.6B-Base -o scored.parquet",
    ),
    Method(
        "vectors",
        "scores",
        "A teacher's vectors beside the texts, for a student to match.",
        "DistilCSE (Gao et al. 2021, arXiv 2112.05638); Reimers and Gurevych 2020, arXiv 2004.09813",
        "encoder",
        "pairmine score --vectors st:MODEL [--side query|document|both]",
        "both sides are ours; multilingual distillation wants --side query",
        "pairmine score pairs.parquet --vectors st:all-MiniLM-L6-v2 -o taught.parquet",
    ),
)
_BATCHES = (
    Method(
        "temperature",
        "batches and mixing",
        "Several sources in shares that grow with the power of their size.",
        "GTE (Li et al. 2023, arXiv 2308.03281)",
        "none",
        "pairmine mix --alpha A",
        "0.5 as the paper is reported to have it; we could not check the number",
        "pairmine mix nli.parquet web.parquet --alpha 0.5 --size 100000 -o mixed.parquet",
    ),
    Method(
        "mix",
        "batches and mixing",
        "Pairs of natural language inference and of definitions in one set.",
        "Comparison of supervision signals (Tsukagoshi, Sasano and Takeda 2022, arXiv 2202.02990)",
        "none",
        "pairmine mix nli.parquet definitions.parquet --alpha 1",
        "shares by size, alpha 1, are ours",
        "pairmine mix nli.parquet definitions.parquet --alpha 1 -o train.parquet",
    ),
    Method(
        "source-batches",
        "batches and mixing",
        "Batches whose queries all come from one source.",
        "GTE (Li et al. 2023, arXiv 2308.03281)",
        "none",
        "pairmine mix --batches source --batch-size N",
        "64 queries are ours",
        "pairmine mix nli.parquet web.parquet --batches source --batch-size 64 -o mixed.parquet",
    ),
    Method(
        "cluster-batches",
        "batches and mixing",
        "Batches whose queries all lie in one cluster of their source.",
        "Embedding and clustering (Merrick 2024, arXiv 2407.18887)",
        "encoder",
        "pairmine mix --batches clusters --encoder st:MODEL",
        "10 clusters of a source are the paper's",
        "pairmine mix a.parquet b.parquet --batches clusters --encoder st:all-MiniLM-L6-v2 -o mixed.parquet",
    ),
    Method(
        "views",
        "batches and mixing",
        "More than two views of every text.",
        "Poly-view (Shidani et al. 2024, arXiv 2403.05490)",
        "none",
        "pairmine derive RECIPE --views M",
        "two views unless asked for more, as in the recipes' papers",
        "pairmine derive crops corpus.jsonl --views 4 -o pairs.parquet",
    ),
)
_LLM = (
    Method(
        "bad-examples",
        "options of generate",
        "Rejected replies of an earlier run, shown with their reason as what to avoid.",
        "Contrastive in-context learning (Gao and Das 2024, arXiv 2401.17390)",
        "llm",
        "pairmine generate RECIPE --bad-examples REJECTS",
        "2 of them for each row are ours; the paper has the model analyse them first, here the reason stands beside",
        "pairmine generate queries corpus.jsonl --llm openai:gpt-5-mini --bad-examples rejects.parquet -o out.parquet",
    ),
)
_AUDITS = (
    Method(
        "align-uniform",
        "audits",
        "How near positives lie to each other, and how evenly texts fill the sphere.",
        "Wang and Isola 2020, arXiv 2005.10242",
        "encoder",
        "pairmine stats --encoder st:MODEL",
        "exponents 2 and 2 are the paper's",
        "pairmine stats pairs.parquet --encoder st:all-MiniLM-L6-v2",
    ),
    Method(
        "eval-rank",
        "audits",
        "Where the true positive ranks among all candidates.",
        "EvalRank (Wang, Kuo and Li 2022, arXiv 2203.02679)",
        "encoder",
        "pairmine stats --encoder st:MODEL --rank-among texts|documents",
        "a grade from 0.8 counts as positive, and the ranks at which hits are counted, are ours",
        "pairmine stats pairs.parquet --encoder st:all-MiniLM-L6-v2 --rank-among texts",
    ),
    Method(
        "paraphrase-robustness",
        "audits",
        "How far these numbers move when the texts are paraphrased.",
        "PTEB (Frank and Afli 2025, arXiv 2510.06730)",
        "encoder",
        "pairmine stats --encoder st:MODEL --against ORIGINAL",
        "plain differences are ours",
        "pairmine stats paraphrased.parquet --encoder st:all-MiniLM-L6-v2 --against original.parquet",
    ),
)
_EXPORTS = (
    Method(
        "reranker-sft",
        "export",
        "Chats that end in yes or no, for rerankers that are language models.",
        "SFT or contrastive learning for reranking (Dai et al. 2025, arXiv 2510.14824)",
        "none",
        "pairmine export --to reranker-sft",
        "the wording is ours, the layout Qwen3-Reranker's",
        "pairmine export pairs.parquet --to reranker-sft -o train.jsonl",
    ),
)

METHODS: tuple[Method, ...] = (
    *_MINING,
    *_WEIGHTS,
    *_PICKS,
    *_GATES,
    *_SCORES,
    *_BATCHES,
    *_LLM,
    *_AUDITS,
    *_EXPORTS,
)
