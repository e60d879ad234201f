from __future__ import annotations

import json
import shutil
import weakref

import cv2
import numpy as np
import pytest
import torch
import yaml
from rich.progress import Progress
from safetensors.torch import save_file
from sklearn.metrics import average_precision_score, roc_auc_score

from offline_training.compare import cost, measure_all, scoring
from offline_training.compare.__main__ import main
from offline_training.compare.fitting import Fitted
from offline_training.compare.measuring import measure_pixels
from offline_training.compare.scoring import RememberingWatched, StoredScores, score_source
from offline_training.compare.source import Source, SourceFrame
from offline_training.compare.sources import perturbed_source
from offline_training.compare.truth import pixel_questions
from offline_training.data.base import VOID
from offline_training.data.frames import Frames
from offline_training.detectors.dense_flow.dense_flow import DenseFlowDensity
from offline_training.detectors.larex.latent_density import LaREM
from offline_training.detectors.logit_scores.logit_scores import MaxSoftmax
from offline_training.measures.segmentation import ConfusionMatrix
from offline_training.pipeline.config import Config
from offline_training.pipeline.config_file import load_config
from offline_training.pipeline.context import Context
from offline_training.segmentation.backbones import build_backbone
from offline_training.watched.base import Watched
from offline_training.watched.normalization import Normalize

WIDTH, HEIGHT = 64, 48
OBJECT = (slice(20, 40), slice(10, 40))


def write_frames(folder, labels_folder, count, seed, unknown=False):
    rng = np.random.default_rng(seed)
    for index in range(count):
        labels = np.repeat(rng.integers(0, 12, 8), WIDTH // 8)[None].repeat(HEIGHT, axis=0)
        image = 20 * labels[..., None] + rng.integers(0, 20, (HEIGHT, WIDTH, 3))
        if unknown:
            labels[OBJECT] = 12
            image[OBJECT] = 255 - image[OBJECT]
        for place, pixels in ((folder, image), (labels_folder, labels)):
            place.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(place / f'drive_{index:03d}.png'), pixels.astype(np.uint8))


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """CamVid and CamVid-OOD in miniature and a network that has learnt nothing."""
    root = tmp_path_factory.mktemp('data')
    for seed, (split, count) in enumerate({'train': 12, 'val': 4, 'test': 5}.items()):
        write_frames(root / 'camvid' / split, root / 'camvid' / f'{split}annot', count, seed)
    write_frames(root / 'ood' / 'images', root / 'ood' / 'labels', 4, 9, unknown=True)
    torch.manual_seed(0)
    save_file(build_backbone('espnet', num_classes=12).state_dict(), root / 'net.safetensors')
    return root


def write_config(folder, **changes):
    experiment = {
        'data': {'dataset': 'camvid'},
        'input': {'width': WIDTH, 'height': HEIGHT, 'color_order': 'bgr'},
        'backbone': {'architecture': 'espnet', 'train_void': True},
        'device': 'cpu',
    }
    comparison = {
        'name': 'miniature',
        'experiment': 'experiment.yaml',
        'weights': 'net.safetensors',
        **{
            key: {'dataset': 'camvid', 'data_dir': 'camvid', 'split': split}
            for key, split in (('train', 'train'), ('val', 'val'), ('normal', 'test'))
        },
        'images': {'ood': {'dataset': 'camvid_ood', 'data_dir': 'ood'}},
        'perturbations': {'names': ['vertical_flip'], 'every': 2},
        'attacks': {
            'fgsm_road': {'kind': 'fgsm', 'every': 2, 'target': 'road', 'epsilon': 4},
            'universal': {'kind': 'universal', 'every': 4, 'steps': 2, 'batch': 1},
        },
        'detectors': {
            'msp': {},
            'mc_dropout': {},
            'larem_mean': {'detector': 'larem', 'feature': 'mean'},
        },
        'resamples': 20,
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / 'experiment.yaml').write_text(yaml.safe_dump(experiment))
    path = folder / 'compare.yaml'
    path.write_text(yaml.safe_dump(comparison))
    return path


def compare(config, data_root, output, *more):
    return main(
        ['--config', str(config), '--data-root', str(data_root), '--output', str(output), *more]
    )


@pytest.fixture(scope='module')
def finished(tmp_path_factory, data_root):
    folder = tmp_path_factory.mktemp('finished')
    assert compare(write_config(folder), data_root, folder / 'out') == 0
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A finished comparison that a test may continue."""
    return shutil.copytree(finished, tmp_path / 'copy')


def stored(path):
    return json.loads(path.read_text())['value']


def result(table, detector, question):
    (found,) = [r for r in table['results'] if (r['detector'], r['set']) == (detector, question)]
    return found


def test_every_applicable_detector_has_every_set(finished):
    table = json.loads((finished / 'out' / 'table.json').read_text())
    pixel = {'normal_errors', 'normal_errors_no_void', 'ood', 'ood_errors', 'ood_errors_no_void'}
    frame = {'ood_frames', 'vertical_flip', 'fgsm_road', 'universal'}
    found = {(r['detector'], r['set']) for r in table['results']}
    assert found == {
        *(('msp', name) for name in pixel | frame),
        *(('larem_mean', name) for name in frame),
    }
    rows = {row['name']: row for row in table['detectors']}
    assert 'Dropout' in rows['mc_dropout']['skipped']
    assert rows['mc_dropout']['ms'] is None
    assert rows['msp']['ms'] > 0
    assert {each['name'] for each in table['segmentation']} == {
        'clean',
        'vertical_flip',
        'fgsm_road',
        'universal',
    }
    for name in ('table.md', 'report.html'):
        text = (finished / 'out' / name).read_text()
        assert 'larem_mean' in text
        assert 'vertical' in text


def test_attacked_frames_are_compared_with_the_same_frames_before(finished, data_root):
    whole, *disturbed = json.loads((finished / 'out' / 'table.json').read_text())['segmentation']
    guesses = np.load(finished / 'out' / 'scores' / 'normal' / 'network.npy')
    paths = sorted((data_root / 'camvid' / 'testannot').iterdir())
    labels = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths])
    labels[labels == 11] = 255
    assert whole['clean'] is None
    for each, every in zip(disturbed, (2, 2, 4), strict=True):
        matrix = ConfusionMatrix(11)
        matrix.update(labels[::every], guesses[::every])
        assert each['clean']['miou'] == matrix.miou() != whole['miou']


@pytest.mark.parametrize('name', ['vertical_flip', 'fog'])
def test_labels_follow_their_pixels(name):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    labels = rng.integers(0, 11, (HEIGHT, WIDTH), np.uint8)
    normal = Source('normal', 'normal', 1, lambda _: SourceFrame('a', image, labels), {})
    turned = perturbed_source(name, normal, 0.6, 1, 0, bgr=True).read(0)
    flipped = name == 'vertical_flip'
    assert np.array_equal(turned.image, image[::-1]) == flipped
    assert np.array_equal(turned.labels, labels[::-1] if flipped else labels)


def test_pixel_measures_follow_the_stored_maps(finished, data_root):
    table = json.loads((finished / 'out' / 'table.json').read_text())
    maps = np.load(finished / 'out' / 'scores' / 'ood' / 'msp.npy')
    assert maps.shape == (4, HEIGHT // 4, WIDTH // 4)
    labels = np.stack(
        [
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in sorted((data_root / 'ood' / 'labels').iterdir())
        ]
    )
    scores = np.stack([cv2.resize(each, (WIDTH, HEIGHT)) for each in maps])
    known = labels != 11
    measures = result(table, 'msp', 'ood')['measures']
    truth = labels[known] == 12
    assert measures['auroc'] == pytest.approx(roc_auc_score(truth, scores[known]), abs=1e-6)
    assert measures['aupr_anomaly'] == pytest.approx(
        average_precision_score(truth, scores[known]), abs=1e-6
    )


def test_errors_are_what_the_network_gets_wrong(finished, data_root):
    table = json.loads((finished / 'out' / 'table.json').read_text())
    folder = finished / 'out' / 'scores' / 'normal'
    predictions = np.load(folder / 'network.npy')
    labels = np.stack(
        [
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in sorted((data_root / 'camvid' / 'testannot').iterdir())
        ]
    )
    maps = np.load(folder / 'msp.npy')
    scores = np.stack([cv2.resize(each, (WIDTH, HEIGHT)) for each in maps])
    assert (labels == 11).any()
    wrong = predictions != labels
    for name, counted in (
        ('normal_errors', np.ones_like(wrong)),
        ('normal_errors_no_void', labels != 11),
    ):
        expected = roc_auc_score(wrong[counted], scores[counted])
        assert result(table, 'msp', name)['measures']['auroc'] == pytest.approx(expected, abs=1e-6)
        assert result(table, 'msp', name)['calibration']['ece'] < 0.5


def test_frames_are_compared_with_all_normal_frames(finished):
    table = json.loads((finished / 'out' / 'table.json').read_text())
    flipped, normal = (
        stored(finished / 'out' / 'scores' / name / 'larem_mean.json')
        for name in ('vertical_flip', 'normal')
    )
    assert (len(flipped), len(normal)) == (3, 5)
    expected = roc_auc_score([1] * 3 + [0] * 5, [*flipped, *normal])
    measured = result(table, 'larem_mean', 'vertical_flip')
    assert measured['measures']['auroc'] == pytest.approx(expected)
    low, high = measured['intervals']['auroc']
    assert low <= expected <= high


def test_an_attack_is_seen_in_the_network_and_measured_in_db(finished):
    facts = stored(finished / 'out' / 'scores' / 'fgsm_road' / 'network.json')
    # Every pixel moves by epsilon 4 or, at the ends of the range, less.
    assert facts['psnr'] >= 10 * np.log10(255**2 / 4**2)
    assert facts['names'] == ['drive_000', 'drive_002', 'drive_004']


@pytest.fixture
def work(monkeypatch):
    """Names what a comparison does: fits, maps that are scored, times, measures."""
    done = []

    def noting(owner, name, word):
        original = getattr(owner, name)

        def noted(*args, **named):
            done.append(word(*args))
            return original(*args, **named)

        monkeypatch.setattr(owner, name, noted)

    noting(LaREM, 'fit', lambda *_: 'fit larem')
    noting(MaxSoftmax, 'score_map', lambda *_: 'score msp')
    noting(LaREM, 'score_frame', lambda *_: 'score larem')
    noting(cost, '_milliseconds', lambda *_: 'time')
    noting(measure_all, 'measure_pixels', lambda question, *_: f'measure {question.name}')
    noting(measure_all, 'measure_frames', lambda question, *_: f'measure {question.name}')
    return done


PIXEL = {f'measure {name}' for name in (
    'normal_errors', 'normal_errors_no_void', 'ood', 'ood_errors', 'ood_errors_no_void',
)}  # fmt: skip
FRAMES = {f'measure {name}' for name in ('ood_frames', 'vertical_flip', 'fgsm_road', 'universal')}
SCORE = {'score msp', 'score larem'}
ERRORS = {name for name in PIXEL if 'errors' in name}


def test_nothing_is_done_twice(copied, data_root, work):
    before = json.loads((copied / 'out' / 'table.json').read_text())
    assert compare(copied / 'compare.yaml', data_root, copied / 'out') == 0
    assert work == []
    after = json.loads((copied / 'out' / 'table.json').read_text())
    assert after.pop('created') >= before.pop('created')
    assert after == before


@pytest.mark.parametrize(
    ('changes', 'done', 'reason'),
    [
        pytest.param(
            {'perturbations': {'names': ['vertical_flip'], 'every': 2, 'severity': 0.9}},
            SCORE | {'measure vertical_flip'},
            'source.severity was 0.5 and is 0.9',
            id='strength',
        ),
        pytest.param(
            {'attacks': {'fgsm_road': {'kind': 'fgsm', 'every': 2, 'target': 'road'}}},
            SCORE | {'measure fgsm_road'},
            'source.epsilon was 4 and is not set',
            id='setting taken away',
        ),
        pytest.param(
            {
                'detectors': {
                    'larem_mean': {'detector': 'larem', 'feature': 'mean', 'tap': 'level2'},
                    'msp': {},
                }
            },
            {'fit larem', 'score larem', 'time'} | FRAMES,
            'settings.tap was None and is level2',
            id='setting of a row',
        ),
        pytest.param(
            {'detectors': {'larem_mean': {'detector': 'msp'}, 'msp': {}}},
            {'score msp', 'time'} | PIXEL | FRAMES,
            'detector was larem and is msp',
            id='detector of a row',
        ),
        pytest.param({'resamples': 30}, PIXEL | FRAMES, None, id='resamples'),
        pytest.param(
            {'train_every': 2},
            {'fit larem', 'time', *SCORE} | FRAMES,  # an attack learns from them too
            'train.every was 1 and is 2',
            id='training images',
        ),
        pytest.param(
            {'map_stride': 2},
            {'score msp', *PIXEL},
            'map_stride was 4 and is 2',
            id='size of maps',
        ),
        pytest.param(
            {'weights': 'other.safetensors'},
            {'fit larem', 'time'} | SCORE | PIXEL | FRAMES,
            'watched.weights was',
            id='network',
        ),
        pytest.param(
            {'detectors': {'msp': {}, 'entropy': {}}}, PIXEL | FRAMES | {'time'}, None, id='row'
        ),
    ],
)
def test_what_depends_on_a_change_and_nothing_else_is_done_again(
    copied, data_root, work, capsys, changes, done, reason
):
    torch.manual_seed(5)
    other = build_backbone('espnet', num_classes=12).state_dict()
    save_file(other, data_root / 'other.safetensors')
    assert compare(write_config(copied, **changes), data_root, copied / 'out') == 0
    assert set(work) == done
    if reason is not None:
        assert reason in ' '.join(capsys.readouterr().err.split())


def test_a_changed_image_is_seen(copied, data_root, tmp_path, work, capsys):
    root = shutil.copytree(data_root, tmp_path / 'data')
    assert compare(copied / 'compare.yaml', root, copied / 'out') == 0
    assert work == []
    for folder in ('images', 'labels'):
        shutil.copy(root / 'ood' / folder / 'drive_000.png', root / 'ood' / folder / 'x_1.png')
    assert compare(copied / 'compare.yaml', root, copied / 'out') == 0
    assert set(work) == SCORE | {'measure ood', 'measure ood_frames'} | {
        name for name in ERRORS if 'ood' in name
    }
    shown = ' '.join(capsys.readouterr().err.split())
    assert (
        'scoring ood again with network, larem_mean, msp: what is stored does not fit: ' in shown
    )
    assert 'source.files was' in shown


def test_damaged_scores_are_made_again(copied, data_root, work):
    path = copied / 'out' / 'scores' / 'ood' / 'msp.npy'
    before = path.read_bytes()
    path.write_bytes(before[:-8])
    assert compare(copied / 'compare.yaml', data_root, copied / 'out') == 0
    assert set(work) == {'score msp'}  # they come out as before, so nothing is measured again
    assert path.read_bytes() == before


def test_an_interrupted_fit_continues_unless_its_settings_changed(
    tmp_path, data_root, monkeypatch
):
    found = []

    def power_cut(self, watched, frames, session):
        found.append(session.checkpoint.exists())
        session.checkpoint.write_text('half')
        raise KeyboardInterrupt

    monkeypatch.setattr(LaREM, 'fit', power_cut)
    for feature in ('mean', 'mean', 'entropy'):
        rows = {'row': {'detector': 'larem', 'feature': feature}}
        config = write_config(tmp_path, detectors=rows)
        assert compare(config, data_root, tmp_path / 'out') == 130
    assert found == [False, True, False]


def test_one_frame_at_a_time_is_held(tmp_path):
    held, most = [], []

    def read(index):
        most.append(sum(each() is not None for each in held))
        image = np.full((HEIGHT, WIDTH, 3), index, np.uint8)
        frame = SourceFrame(str(index), image, image[..., 0] % 11)
        held.extend([weakref.ref(frame), weakref.ref(image)])
        return frame

    network = build_backbone('espnet', num_classes=12)
    watched = Watched(network, Normalize(Config().input), 11).eval()
    source = Source('normal', 'normal', 20, read, {}, ('labels',))
    rows = {'msp': Fitted(MaxSoftmax(), 0, None, '')}
    stored = StoredScores(tmp_path, {}, rows, 4)
    detectors = {name: row.detector for name, row in rows.items()}
    with Progress(disable=True) as bars:
        score_source(source, detectors, watched, stored, bars)
    question, *_ = pixel_questions(source, lambda: stored.predictions(source), 11)
    measure_pixels(question, stored.maps(source, 'msp'), None, 0, 0)
    assert len(most) > 2 * source.count
    assert max(most) <= 4  # the frame before, and its image, until the next has been read


def test_an_interrupted_source_is_scored_again(copied, data_root, work, monkeypatch):
    folder = copied / 'out' / 'scores' / 'ood'
    shutil.rmtree(folder)

    def power_cut(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring._Facts, 'report', power_cut)
    assert compare(copied / 'compare.yaml', data_root, copied / 'out') == 130
    assert not folder.exists()
    assert not list((copied / 'out' / 'scores').glob('.*'))


def test_the_time_of_another_detector_of_the_same_name_is_not_shown(copied, data_root, work):
    """A row that kept its name and became ten times as slow was shown with its old time."""
    first = json.loads((copied / 'out' / 'table.json').read_text())
    shutil.rmtree(copied / 'out' / 'scores')  # scoring is another matter
    rows = {
        'msp': {'detector': 'mc_augmentation', 'passes': 4},
        'larem_mean': {'detector': 'larem', 'feature': 'mean'},
    }
    assert compare(write_config(copied, detectors=rows), data_root, copied / 'out') == 0
    second = json.loads((copied / 'out' / 'table.json').read_text())
    ms = [{row['name']: row['ms'] for row in table['detectors']} for table in (first, second)]
    assert ms[1]['larem_mean'] == ms[0]['larem_mean']
    assert ms[1]['msp'] != ms[0]['msp']
    assert second['network']['ms'] == first['network']['ms']
    assert work.count('time') == cost.WARM_UP + cost.FRAMES


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'settings', 'changes'),
    [
        ('pgd', {'steps': 2}, None),
        ('cospgd', {'steps': 2}, None),
        ('local', {'name': 'max_square_patch'}, None),
        ('universal', {'steps': 2, 'batch': 1, 'epsilon': 12}, {'epsilon': 2}),
        ('autoencoder', {'steps': 2, 'psnr': 12}, {'psnr': 40}),
    ],
)
def test_every_attack_acts_and_learns_anew_for_other_settings(
    tmp_path, data_root, kind, settings, changes
):
    def judged(output, own):
        attack = {'kind': kind, 'every': 5, **own}
        config = write_config(
            tmp_path,
            detectors={'msp': {}},
            images={},
            perturbations={'names': []},
            attacks={'attacked': attack},
        )
        assert compare(config, data_root, output) == 0
        return stored(output / 'scores' / 'attacked' / 'network.json')['psnr']

    before = judged(tmp_path / 'out', settings)
    assert 5 < before < 60
    if changes is not None:
        assert judged(tmp_path / 'out', {**settings, **changes}) > before + 3


@pytest.fixture
def run(copied, data_root):
    """The folder of a training run of the backbone alone."""
    run = copied / 'run'
    run.mkdir()
    shutil.copy(copied / 'experiment.yaml', run / 'config.yaml')
    shutil.copy(data_root / 'net.safetensors', run / 'backbone.safetensors')
    (run / 'backbone.json').write_text('{"architecture": "espnet", "num_classes": 12}')
    return run


def test_a_detector_of_a_run_is_taken_from_it_and_follows_it(copied, data_root, run, work, capsys):
    settings = {'taps': ['level3'], 'channels': 4, 'layers': 1, 'hidden': 4, 'epochs': 1}
    rows = {'msp': {}, 'flow': {'detector': 'dense_flow', **settings}}
    config = write_config(
        copied, detectors=rows, images={}, attacks={}, perturbations={'names': []}
    )
    context = Context(load_config(run / 'config.yaml'), run, torch.device('cpu'))
    watched = Watched(context.backbone(), context.normalize(), 11)
    more = (copied / 'watched', '--run', str(run))
    scored = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        images = list(rng.integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8))
        labels = [np.zeros((HEIGHT, WIDTH), np.uint8)] * 4
        DenseFlowDensity(**settings).fit(watched, Frames(images, labels)).save(
            run / 'flow.safetensors'
        )
        for _ in range(2):
            work.clear()
            assert compare(config, data_root, *more) == 0
            scored.append('score msp' in work)
    assert scored == [True, False, False, False]
    shown = ' '.join(capsys.readouterr().err.split())
    assert 'fitting flow: what is stored does not fit: run.flow.safetensors was' in shown
    assert 'scoring normal again with flow:' in shown


def test_the_network_of_a_run_is_watched(copied, data_root, run, capsys):
    config = write_config(copied, detectors={'msp': {}, 'dense_flow': {}})
    more = (copied / 'watched', '--run', str(run))
    assert compare(config, data_root, *more, '--detectors', 'msp') == 0
    table = json.loads((copied / 'watched' / 'table.json').read_text())
    assert table['network']['weights'] == 'training run run'
    assert compare(config, data_root, *more) == 2
    assert 'flow.safetensors does not exist; run the stage' in capsys.readouterr().err


def test_maps_may_have_the_size_of_the_network(copied, data_root):
    config = write_config(copied, map_stride=1)
    assert compare(config, data_root, copied / 'full', '--detectors', 'msp') == 0
    maps = np.load(copied / 'full' / 'scores' / 'ood' / 'msp.npy')
    assert maps.shape == (4, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'detectors': {'mps': {}}}, "did you mean 'msp'"),
        ({'detectors': {'msp': {'temperatur': 1}}}, 'detectors.msp'),
        ({'perturbations': {'names': ['fogg']}}, "did you mean 'fog'"),
        ({'perturbations': {'names': ['fog'], 'severity': 0}}, 'severity'),
        ({'attacks': {'fog': {'kind': 'fgms'}}}, "did you mean 'fgsm'"),
        ({'attacks': {'a': {'kind': 'fgsm', 'target': 'moose'}}}, 'moose'),
        ({'attacks': {'a': {'kind': 'pgd', 'eps': 3}}}, 'eps'),
        ({'attacks': {'normal': {'kind': 'pgd'}}}, 'same name'),
        ({'images': {'x': {'dataset': 'camvid_ood', 'data_dir': 'nowhere'}}}, 'nowhere'),
        ({'weights': None}, '--run'),
        ({'weights': 5}, 'weights'),
        ({'name': None}, 'name'),
        ({'val_every': 0}, 'val_every'),
        ({'seed': 'a'}, 'seed'),
        ({'resamples': -1}, 'resamples'),
        ({'map_stride': True}, 'map_stride'),
        ({'detectors': {}}, 'detectors'),
        ({'detectors': {'network': {'detector': 'msp'}}}, 'network'),
        ({'perturbations': {'names': ['fog'], 'severity': 'x'}}, 'severity'),
        ({'perturbations': {'names': None}}, 'names'),
        ({'attacks': {'../x': {'kind': 'pgd'}}}, '../x'),
        ({'attacks': {'ood_frames': {'kind': 'pgd'}}}, 'ood_frames'),
        ({'attacks': {'a': {'kind': 'pgd', 'epsilon': -1}}}, 'epsilon'),
        ({'attacks': {'a': {'kind': 'pgd', 'steps': 0}}}, 'steps'),
        ({'attacks': {'a': {'kind': 'local', 'name': 'min_patch'}}}, 'min_patch'),
        ({'colour': 'red'}, 'colour'),
    ],
)
def test_a_mistake_is_named_before_any_work(tmp_path, data_root, capsys, changes, message):
    config = write_config(tmp_path, **changes)
    assert compare(config, data_root, tmp_path / 'out') == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_only_some_detectors(copied, data_root, capsys):
    assert (
        compare(copied / 'compare.yaml', data_root, copied / 'out', '--detectors', 'larem_mean')
        == 0
    )
    table = json.loads((copied / 'out' / 'table.json').read_text())
    assert {each['detector'] for each in table['results']} == {'larem_mean'}
    assert compare(copied / 'compare.yaml', data_root, copied / 'out', '--detectors', 'lared') == 2
    assert 'lared' in capsys.readouterr().err


def test_a_remembered_answer_is_the_networks_own():
    torch.manual_seed(0)
    network = build_backbone('espnet', num_classes=12)
    watched = Watched(network, Normalize(Config().input), 11)
    remembering = RememberingWatched(watched)
    first, second = torch.randint(0, VOID, (2, 1, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    for images in (first, first, second):
        torch.testing.assert_close(remembering(images), watched(images))
    seen = []
    hook = next(network.children()).register_forward_hook(lambda *_: seen.append(1))
    remembering(second)
    hook.remove()
    assert seen, 'a detector that looks at inner modules must see them run'
