from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)


class Base(DeclarativeBase):
    pass


class Dish(Base):
    __tablename__ = "dish"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    price: Mapped[float]


def fill():
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Dish(name="gratin", price=4.5), Dish(name="soup", price=3)])
        session.commit()


def dishes(most=None):
    with Session(engine) as session:
        found = select(Dish).order_by(Dish.price)
        return list(session.scalars(found if most is None else found.where(Dish.price <= most)))


def add(name, price):
    with Session(engine) as session:
        session.add(Dish(name=name, price=price))
        session.commit()
