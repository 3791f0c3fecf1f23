"""Finite groups: tables against matrices, exact entries, known facts, and refusals."""

import math
from itertools import chain, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor import groups
from equitutor.groups import FiniteGroup

NAMED = {
    "C1": (lambda: groups.cyclic(1), [1]),
    "C4": (lambda: groups.cyclic(4), [1, 1, 1, 1]),
    "D1": (lambda: groups.dihedral(1), [1, 1]),
    "D2": (lambda: groups.dihedral(2), [1, 1, 1, 1]),
    "D4": (lambda: groups.dihedral(4), [1, 1, 2, 2, 2]),
    "D5": (lambda: groups.dihedral(5), [1, 2, 2, 5]),
    "T": (groups.tetrahedral, [1, 3, 4, 4]),
    "O": (groups.octahedral, [1, 3, 6, 6, 8]),
    "I": (groups.icosahedral, [1, 12, 12, 15, 20]),
    "C3 x D3": (
        lambda: groups.direct_product(groups.cyclic(3), groups.dihedral(3)),
        [1, 1, 1, 2, 2, 2, 3, 3, 3],
    ),
}
QUARTER = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)


@pytest.fixture(params=NAMED, scope="module")
def named(request):
    make, class_sizes = NAMED[request.param]
    return request.param, make(), class_sizes


def turn(degrees: float) -> torch.Tensor:
    a = math.radians(degrees)
    return torch.tensor(
        [[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64
    )


def parts(group: FiniteGroup) -> dict:
    """Return what a group is made of, as copies that a test may spoil."""
    return {
        "name": group.name,
        "elements": group.elements.clone(),
        "mul": group.mul.clone(),
        "inv": group.inv.clone(),
        "identity": group.identity,
    }


def test_tables_agree_with_matrices(named):
    name, g, class_sizes = named
    assert g.name == name
    assert len(g) == g.order == sum(class_sizes) == len(g.elements)
    assert g.elements.dtype == torch.float64
    assert g.mul.dtype == g.inv.dtype == torch.int64
    assert g.identity == 0
    one = torch.eye(g.dimension, dtype=torch.float64)
    assert torch.equal(g.elements[0], one)
    for i, j in product(range(g.order), repeat=2):
        assert_close(g.elements[g.mul[i, j]], g.elements[i] @ g.elements[j], atol=1e-14, rtol=0)
    assert_close(g.elements[g.inv], g.elements.transpose(1, 2), atol=1e-14, rtol=0)


def test_conjugacy_classes_and_orders(named):
    _, g, class_sizes = named
    classes = g.conjugacy_classes()
    assert sorted(map(len, classes)) == class_sizes
    assert sorted(chain(*classes)) == list(range(g.order))
    assert classes == sorted(map(sorted, classes))
    assert g.is_abelian == (len(classes) == g.order)
    for members in classes:
        traces = g.elements[members].diagonal(dim1=1, dim2=2).sum(1)
        assert_close(traces, traces[:1].expand_as(traces), atol=1e-12, rtol=0)
        assert len(set(g.element_orders[members].tolist())) == 1
    one = torch.eye(g.dimension, dtype=torch.float64)
    for element, order in zip(g.elements, g.element_orders.tolist(), strict=True):
        for k in range(1, order + 1):
            is_one = torch.allclose(torch.linalg.matrix_power(element, k), one, atol=1e-9)
            assert is_one == (k == order)


def test_regular_representation(named):
    _, g, _ = named
    rho = g.regular()
    assert rho.shape == (g.order,) * 3
    assert rho.dtype == torch.float64
    basis = torch.eye(g.order, dtype=torch.float64)
    for i, h in product(range(0, g.order, 5), range(g.order)):
        assert torch.equal(rho[i] @ basis[h], basis[g.mul[i, h]])
        assert torch.equal(rho[i] @ rho[h], rho[g.mul[i, h]])


def test_the_regular_check_can_fail():
    g = groups.dihedral(3)
    rho = g.regular().transpose(1, 2)  # broken twin: reverses the order of products
    assert not torch.equal(rho[1] @ rho[3], rho[g.mul[1, 3]])


@pytest.mark.parametrize("make", [groups.tetrahedral, groups.octahedral])
def test_cube_groups_are_signed_permutations(make):
    elements = make().elements
    assert set(elements.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert not torch.signbit(elements[elements == 0]).any()
    assert torch.equal(elements.abs().sum(1), torch.ones_like(elements[:, 0]))
    assert_close(torch.linalg.det(elements), torch.ones(len(elements), dtype=torch.float64))


def test_quarter_turns_are_exact():
    for n in (4, 8, 12, 360):
        g = groups.cyclic(n)
        for k in range(4):
            expected = torch.linalg.matrix_power(QUARTER, k) + 0.0
            assert torch.equal(g.elements[k * n // 4], expected)
    d4 = groups.dihedral(4).elements
    assert set(d4.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_icosahedral_facts():
    g = groups.icosahedral()
    assert len(g.elements.abs().unique()) == 5
    assert (g.elements[g.mul] - g.elements[:, None] @ g.elements).abs().max() < 1e-15
    golden = (1 + 5**0.5) / 2
    vertex = torch.tensor([0.0, 1.0, golden], dtype=torch.float64)
    orbit = (g.elements @ vertex).mul(1e6).round().unique(dim=0)
    assert len(orbit) == 12
    distance = torch.cdist(groups.tetrahedral().elements.flatten(1), g.elements.flatten(1))
    assert torch.equal(distance.amin(1), torch.zeros(12, dtype=torch.float64))
    # The 60 matrices are a tight frame of all 3 x 3 matrices.
    R = groups.haar_so3(4, torch.Generator().manual_seed(1))
    inner = torch.einsum("bij,aij->ba", R, g.elements)
    assert_close(3 / 60 * torch.einsum("ba,aij->bij", inner, g.elements), R, atol=1e-13, rtol=0)


@given(n=st.integers(1, 40), data=st.data())
def test_cyclic_and_dihedral_of_any_order(n, data):
    k = data.draw(st.integers(0, n - 1))
    c, d = groups.cyclic(n), groups.dihedral(n)
    assert (c.order, d.order) == (n, 2 * n)
    assert_close(c.elements[k], turn(360 * k / n), atol=1e-14, rtol=0)
    flip = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert_close(d.elements[n + k], turn(360 * k / n) @ flip, atol=1e-14, rtol=0)
    assert torch.equal(d.mul[:n, :n], c.mul)
    assert d.element_orders[n:].eq(2).all()
    assert int(c.element_orders[k]) == n // math.gcd(k, n)


def test_from_generators():
    flip = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    g = FiniteGroup.from_generators("D12", torch.stack([turn(30), flip]))
    same = groups.dihedral(12)
    assert g.order == 24
    assert torch.equal(g.elements[0], torch.eye(2, dtype=torch.float64))
    assert torch.cdist(g.elements.flatten(1), same.elements.flatten(1)).amin(1).max() < 1e-13
    again = FiniteGroup.from_generators("D12", torch.stack([turn(30), flip]))
    assert torch.equal(g.elements, again.elements)
    assert torch.equal(g.mul, again.mul)
    assert FiniteGroup.from_generators("C7", turn(360 / 7)[None], max_order=7).order == 7


@pytest.mark.parametrize(
    ("generators", "max_order", "error", "message"),
    [
        (turn(1.0)[None], 359, ValueError, "max_order=359"),
        (turn(math.sqrt(2))[None], 500, ValueError, "max_order=500"),
        (turn(1e-6)[None], 100, ValueError, "differ by"),
        (2 * turn(90)[None], 100, ValueError, r"generators\[0\] is not orthogonal"),
        (turn(90)[None] * math.nan, 100, ValueError, "not orthogonal"),
        (turn(90), 100, ValueError, "shape"),
        (turn(90)[None].float(), 100, TypeError, "float32"),
        ([turn(90)], 100, TypeError, "of type list"),
        (turn(90)[None], 0, ValueError, "max_order is 0"),
        (turn(90)[None], 4.0, TypeError, "max_order"),
    ],
)
def test_from_generators_refuses(generators, max_order, error, message):
    with pytest.raises(error, match=message):
        FiniteGroup.from_generators("bad", generators, max_order)


def spoil(**changes):
    def make():
        made = parts(groups.dihedral(3))
        for field, change in changes.items():
            made[field] = change(made[field])
        return made

    return make


def set_entry(index, value):
    def change(tensor):
        tensor[index] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (spoil(mul=set_entry((1, 3), 5)), ValueError, r"mul\[1, 3\] is 5"),
        (spoil(mul=lambda t: t.T.contiguous()), ValueError, "mul"),
        (spoil(mul=set_entry((0, 0), 6)), ValueError, "entries outside"),
        (spoil(mul=set_entry((0, 0), -1)), ValueError, "entries outside"),
        (spoil(mul=lambda t: t[:, :5]), ValueError, "mul has shape"),
        (spoil(mul=lambda t: t.float()), TypeError, "int64"),
        (spoil(inv=set_entry(1, 1)), ValueError, r"inv\[1\]"),
        (spoil(inv=lambda t: t.tolist()), TypeError, "of type list"),
        (spoil(identity=lambda _: 1), ValueError, "not the identity"),
        (spoil(identity=lambda _: 6), ValueError, "below 6"),
        (spoil(identity=lambda _: 0.0), TypeError, "identity"),
        (spoil(elements=set_entry(2, turn(10))), ValueError, "another matrix"),
        (spoil(elements=set_entry(2, turn(120))), ValueError, "elements 1 and 2 are equal"),
        (spoil(elements=set_entry((2, 0, 0), 0.3)), ValueError, "orthogonal"),
        (spoil(elements=lambda t: t.float()), TypeError, "float64"),
        (spoil(elements=lambda t: t[:0]), ValueError, "shape"),
    ],
)
def test_a_wrong_group_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        FiniteGroup(**make())


def test_the_unspoiled_group_is_accepted():
    assert FiniteGroup(**parts(groups.dihedral(3))).order == 6


def test_subgroup():
    o = groups.octahedral()
    even = [i for i, k in enumerate(o.element_orders.tolist()) if k in (1, 3)]
    squares = sorted(set(o.mul.diagonal().tolist()))  # squares of quarter turns are half turns
    t = o.subgroup(sorted(set(even + squares)), name="T")
    assert (t.name, t.order) == ("T", 12)
    backwards = groups.cyclic(6).subgroup([4, 2, 0])
    assert backwards.identity == 2
    assert torch.equal(backwards.elements, groups.cyclic(6).elements[[4, 2, 0]])
    assert "C6" in backwards.name
    assert groups.cyclic(6).subgroup(torch.tensor([0, 3])).order == 2


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([0, 1], ValueError, "1 times 1 is 2"),
        ([2], ValueError, "not closed"),
        ([], ValueError, "distinct"),
        ([0, 0], ValueError, "distinct"),
        ([0, 4], ValueError, "below 4"),
        ([-1, 0], ValueError, "at least 0"),
        ([0.0], TypeError, "int"),
    ],
)
def test_subgroup_refuses(indices, error, message):
    with pytest.raises(error, match=message):
        groups.cyclic(4).subgroup(indices)


@pytest.mark.parametrize("make", [groups.cyclic, groups.dihedral, groups.haar_so3])
@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_bad_orders_are_refused(make, n, error):
    with pytest.raises(error, match="n is"):
        make(n)


def test_direct_product():
    a, b = groups.dihedral(3), groups.cyclic(2)
    g = groups.direct_product(a, b)
    for (i, j), (k, m) in product(product(range(6), range(2)), repeat=2):
        assert g.mul[i * 2 + j, k * 2 + m] == a.mul[i, k] * 2 + b.mul[j, m]
    assert torch.equal(g.elements[3, :2, :2], a.elements[1])
    assert torch.equal(g.elements[3, 2:, 2:], b.elements[1])
    with pytest.raises(TypeError, match="b is of type int"):
        groups.direct_product(a, 2)


def haar_moments_fit(R: torch.Tensor) -> bool:
    """Whether first and second moments of R entries are those of the uniform measure."""
    second = torch.einsum("nij,nkl->ijkl", R, R) / len(R)
    one = torch.eye(3, dtype=torch.float64)
    expected = torch.einsum("ik,jl->ijkl", one, one) / 3
    return bool(R.mean(0).abs().max() < 0.03 and (second - expected).abs().max() < 0.03)


def test_haar_so3_is_uniform():
    R = groups.haar_so3(20_000, torch.Generator().manual_seed(0))
    assert R.shape == (20_000, 3, 3)
    assert R.dtype == torch.float64
    one = torch.eye(3, dtype=torch.float64).expand_as(R)
    assert_close(R @ R.transpose(1, 2), one, atol=1e-14, rtol=0)
    assert_close(torch.linalg.det(R), torch.ones(len(R), dtype=torch.float64))
    assert haar_moments_fit(R)
    # Broken twin: a uniform axis with a uniform angle is not Haar.
    axis = torch.nn.functional.normalize(
        torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)).double(), dim=1
    )
    angle = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)[:-1, None, None]
    cross = torch.linalg.cross(one, axis[:, None].expand_as(one)).transpose(1, 2)
    twin = one + angle.sin() * cross + (1 - angle.cos()) * cross @ cross
    assert_close(torch.linalg.det(twin), torch.ones(len(R), dtype=torch.float64))
    assert not haar_moments_fit(twin)


def test_haar_so3_draws_from_its_generator_only():
    state = torch.get_rng_state()
    a = groups.haar_so3(3, torch.Generator().manual_seed(5))
    b = groups.haar_so3(3, torch.Generator().manual_seed(5))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.get_rng_state())
