"""Training and test recipes by name; ``recipe = dict(like=NAME)`` in an experiment takes one.

``like`` is the recipe that one starts from, ``recipe`` what it changes on all data sets,
``datasets`` what it changes on single ones, ``about`` the source. Facts: VidEoMT (arXiv 2602.17807)
and its public configurations of February and June 2026, EoMT (CVPR 2025), CAVIS (arXiv 2407.03010),
DVIS (arXiv 2306.03413), DVIS++ (arXiv 2312.13305), DVIS-DAQ (arXiv 2404.00086), CTVIS (arXiv
2307.12616), MinVIS (arXiv 2208.02245).
"""

_youtube = ("ytvis_2019", "ytvis_2021", "ytvis_2022")
_instances = (*_youtube, "ovis")
_dense = ("vipseg", "vspw")


def _each(names: tuple[str, ...], change: dict, **more: dict) -> dict:
    """The same change for several data sets; ``more`` are those of others."""
    return {**dict.fromkeys(names, change), **more}


def _stages(**both: object) -> dict:
    """The same settings for both stages."""
    return dict(segmenter=both, video=both)


def _iterations(video: int) -> dict:
    return dict(video=dict(train=dict(iterations=video)))


def _images(change: dict, iterations: int) -> dict:
    """The segmenter stage of a change for another number of iterations."""
    return dict(segmenter=dict(change["segmenter"], train=dict(iterations=iterations)))


_sides = [320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640]
_crop = dict(short_sides=_sides, max_size=768, crop=True, flip=0.5)
_swin = dict(short_sides=[360, 480, 600], max_size=1024, flip=0.5)
_no_crop = dict(short_sides=list(range(480, 801, 32)), max_size=1333, flip=0.5)
_vis = dict(**_stages(augmentation=_crop), test=dict(short_side=448, top_k=10))
_ovis = {**_vis, "test": dict(short_side=544, top_k=20)}
_minvis = dict(
    **_stages(
        augmentation=dict(short_sides=[360, 480], max_size=1333, crop=False, flip=0.5),
        mixture_ratio=None,
    ),
    test=dict(short_side=360),
)
_720p = dict(**_stages(augmentation=_no_crop, drop_empty=False), test=dict(short_side=720))
_train = dict(batch=8, precision="fp16", workers=4, per_device=1, checkpoint_interval=1000)
_layerwise = dict(lr=1e-4, weight_decay=0.05, layer_decay=0.6, warmup=[500, 1000], power=0.9)

_steps = dict(
    lr=1e-4,
    weight_decay=0.05,
    decay_all=False,
    layer_decay=1.0,
    backbone_factor=0.1,
    warmup=[0, 0],
    milestones=[0.7],
    clip_norm=0.01,
)
_no_reference = dict(losses=dict(reference_weight=0.0, reference_cosine_weight=0.0))
_contrastive = dict(
    tracklets=True,
    identity_cosine_weight=3.0,
    prototype_weight=0.0,
    prototype_cosine_weight=0.0,
)
_references = dict(first_reference=True, reference_weight=2.0, reference_cosine_weight=0.0)
_learning = dict(optim=_steps, **_train)
_refiner = dict(frames=21, reverse=0.5, train=dict(_learning, iterations=40000))
_cavis_refiner = dict(frames=15, reverse=0.5, train=dict(_learning, iterations=160000))
_square = {**_no_crop, "final_crop": [608, 608]}
_oblong = {**_no_crop, "final_crop": [600, 720]}
_cavis_refined_720p = dict(augmentation=_square, drop_empty=False)
_refined_vis = dict(augmentation=_crop, train=dict(losses=dict(refined_weight=2.0)))
_few = dict(iterations=20000)
_refined_720p = dict(augmentation=_square, drop_empty=False, train=_few)


def _dvis(images: int, clips: int, crop: bool = False, **more: object) -> dict:
    """Of instances, by iterations: the refiner learns for as long as the tracker, from crops."""

    def stage(iterations: int, crop: bool) -> dict:
        return dict(augmentation=dict(_swin, crop=crop), train=dict(iterations=iterations), **more)

    return dict(
        segmenter=stage(images, crop),
        video=stage(clips, crop),
        refine=stage(clips, True),
        test=dict(short_side=480),
    )


_ctvis = dict(
    frames=4,
    span=8,
    train=dict(iterations=20000, batch=16, losses=_contrastive, optim=dict(milestones=[0.7, 0.9])),
)
_ctvis_instances = dict(
    frames=11,
    span=None,
    train=dict(iterations=16000, optim=dict(lr=5e-5, milestones=[0.375, 0.75])),
)

_no_disappearance = dict(score=0.01, disappearance=False)
_dense_tracks = dict(video=dict(train=dict(tracks=_no_disappearance)))
_ovis_tracks = dict(
    video=dict(train=dict(iterations=160000, tracks=dict(score=0.1))),
    selection=dict(score=0.1, confirmed=0.01),
    offline_selection=dict(score=0.05, confirmed=0.01),
)
_daq_vipseg = dict(iterations=90000, optim=dict(milestones=[66 / 90]), tracks=_no_disappearance)

_window = dict(include_last=False, ordered=False)
_everywhere = dict(present_everywhere=True)
_no_object = dict(absent_as_no_object=True)
_gone = dict(label_quirk=True, train=dict(losses=_no_object))

recipes = dict(
    videomt=dict(
        about="the paper: the settings of CAVIS for all its systems; no clipping, as the code",
        recipe=dict(
            num_queries=200,
            segmenter=dict(
                frames=1,
                train=dict(iterations=40000, masked_attention=True, optim=_layerwise, **_train),
            ),
            video=dict(frames=5, train=dict(iterations=160000, optim=_layerwise, **_train)),
            test=dict(precision="fp16"),
        ),
        datasets=_each(
            _youtube,
            _vis,
            ovis=_ovis,
            vipseg={**_720p, "video": {**_720p["video"], "train": dict(iterations=40000)}},
            vspw={**_720p, "video": {**_720p["video"], "train": dict(iterations=20000)}},
        ),
    ),
    videomt_june=dict(
        about="public configurations of June 2026, ViT-L with DINOv2",
        like="videomt",
        datasets=dict(ytvis_2019=_iterations(60000), vspw=_iterations(40000)),
    ),
    videomt_june_small=dict(
        about="public configurations of June 2026, ViT-S and ViT-B (YouTube-VIS 2019 alone)",
        like="videomt_june",
        datasets=dict(ytvis_2019=_iterations(40000)),
    ),
    videomt_february=dict(
        about="public configurations of February 2026; VIPSeg at a position grid of 640",
        like="videomt_june",
        datasets=dict(ytvis_2021=_iterations(40000), ytvis_2022=_iterations(40000)),
    ),
    videomt_dinov3=dict(
        about="public configurations of June 2026 for DINOv3: tested at 480 on YouTube-VIS",
        like="videomt",
        datasets=_each(_youtube, dict(test=dict(short_side=480)), vspw=_iterations(40000)),
    ),
    videomt_clipped=dict(
        about="gradients clipped at 0.01, as the public configurations say and the code does not",
        like="videomt",
        recipe=_stages(train=dict(optim=dict(clip_norm=0.01))),
    ),
    videomt_segmenter_20k=dict(
        about="the image stage by the base configurations, a weak hint: 20k, layer decay 0.8",
        like="videomt",
        recipe=dict(segmenter=dict(train=dict(iterations=20000, optim=dict(layer_decay=0.8)))),
    ),
    videomt_public_code=dict(
        about="the configurations of June with the defects of the public training code",
        like="videomt_june",
        recipe=dict(
            video=dict(
                label_quirk=True, train=dict(losses=dict(last_intermediate=False)), **_window
            )
        ),
        datasets=_each(_dense, dict(video=_everywhere)),
    ),
    videomt_dinov3_public_code=dict(
        about="the configurations for DINOv3 with the defects of the public training code",
        like="videomt_dinov3",
        recipe=dict(
            video=dict(
                label_quirk=True,
                train=dict(losses=dict(last_intermediate=False), optim=dict(slow_final_norm=True)),
                **_window,
            )
        ),
        datasets=_each(_dense, dict(video=_everywhere)),
    ),
    cavis=dict(
        about="CAVIS; VSPW, of which it has none, with the iterations of DVIS++",
        like="videomt",
        recipe=dict(
            segmenter=dict(
                frames=3,
                span=2,
                train=dict(matching="per_frame", masked_attention=False, optim=_steps),
            ),
            video=dict(train=dict(optim=_steps)),
            refine=_cavis_refiner,
        ),
        datasets=_each(
            _youtube,
            dict(refine=dict(augmentation=_crop)),
            ovis=dict(
                video=dict(train=_no_reference),
                refine=dict(augmentation=_crop),
                test=dict(short_side=448),
            ),
            vipseg=dict(
                video=dict(train=_no_reference),
                refine=dict(**_cavis_refined_720p, train=dict(iterations=40000)),
            ),
            vspw=dict(
                video=dict(train=_no_reference), refine=dict(**_cavis_refined_720p, train=_few)
            ),
        ),
    ),
    cavis_public_code=dict(
        about="CAVIS with the defects of its public training code",
        like="cavis",
        recipe=dict(
            segmenter={**_gone, "train": dict(losses=dict(pseudo_identity=True, **_no_object))},
            video=dict(**_gone, **_window),
            refine=dict(**_gone, **_window),
        ),
        datasets=_each(_dense, dict(**_stages(**_everywhere), refine=_everywhere)),
    ),
    dvis=dict(
        about="DVIS with Swin-L: a segmenter on images, then the referring tracker",
        like="cavis",
        recipe=dict(
            segmenter=dict(frames=1, span=None, train=dict(iterations=20000)),
            video=dict(train=dict(iterations=20000)),
            refine=_refiner,
        ),
        datasets=dict(
            ytvis_2019=_dvis(20000, 40000, crop=True, mixture_ratio=4 / 3),
            ytvis_2021=_dvis(20000, 40000),
            ytvis_2022=_dvis(20000, 40000),
            ovis=_dvis(40000, 20000),
            vipseg=dict(refine=_refined_720p),
            vspw=dict(refine=_refined_720p),
        ),
    ),
    minvis=dict(
        about="MinVIS with ResNet-50: images of videos alone, and one iteration on clips",
        like="dvis",
        recipe=dict(
            segmenter=dict(train=dict(iterations=8000, batch=32)),
            **_iterations(1),
            refine=None,
        ),
        datasets=_each(
            _youtube[1:],
            _minvis,
            ytvis_2019=_minvis | _images(_minvis, 6000),
            ovis=_minvis | _images(_minvis, 10000) | dict(test=dict(short_side=360, top_k=10)),
        ),
    ),
    dvis_plus=dict(
        about="DVIS++ with ViT-L: a segmenter of CTVIS, then the referring tracker",
        like="cavis",
        recipe=dict(
            segmenter=_ctvis,
            video=dict(train=dict(iterations=40000, losses=_references)),
            refine=_refiner,
        ),
        datasets=_each(
            _youtube,
            dict(segmenter=_ctvis_instances, refine=_refined_vis, test=dict(short_side=480)),
            vipseg=dict(
                video=dict(train=dict(iterations=20000, losses=dict(reference_weight=0.0))),
                refine=_refined_720p,
            ),
            vspw=dict(
                **_iterations(20000),
                refine=dict(
                    augmentation=_oblong,
                    drop_empty=False,
                    train=dict(**_few, losses=dict(refined_weight=2.0)),
                ),
            ),
            ovis=dict(
                segmenter=_ctvis_instances,
                refine=dict(augmentation=_crop),
                test=dict(short_side=480),
            ),
        ),
    ),
    dvis_daq=dict(
        about="DVIS-DAQ with ViT-L; OVIS tested at 544, as in the paper of VidEoMT",
        like="dvis_plus",
        recipe=dict(
            test=dict(top_k=20),
            video=dict(
                train=dict(
                    tracks=dict(short_iterations=10000, short_frames=2, score=0.02),
                    **_no_reference,
                )
            ),
            refine=dict(frames=15, train=dict(losses=dict(refined_weight=0.0))),
        ),
        datasets=_each(
            _youtube,
            dict(**_iterations(160000), refine=dict(train=dict(iterations=160000))),
            ovis=dict(
                **_ovis_tracks,
                refine=dict(train=dict(iterations=80000)),
                test=dict(short_side=544),
            ),
            vipseg=dict(video=dict(train=_daq_vipseg)),
            vspw=_dense_tracks,
        ),
    ),
    dvis_daq_480=dict(
        about="DVIS-DAQ with OVIS tested at 480, as its public configuration",
        like="dvis_daq",
        datasets=dict(ovis=dict(test=dict(short_side=480))),
    ),
    dvis_daq_public_code=dict(
        about="DVIS-DAQ with the defects of its public training code",
        like="dvis_daq_480",
        recipe=dict(
            video=dict(
                train=dict(tracks=dict(early_cut=True, shared_gone=True)),
                **_window,
            )
        ),
        datasets=_each(_dense, _stages(**_everywhere)),
    ),
)
