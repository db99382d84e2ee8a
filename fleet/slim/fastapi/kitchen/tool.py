"""python3 -m kitchen.tool schema|dishes"""

import sys


def main():
    if sys.argv[1] == "schema":
        import yaml

        from kitchen.main import app

        print(yaml.safe_dump(app.openapi(), sort_keys=True))
    else:
        import asyncio
        import csv

        async def rows():
            from kitchen import store

            store.fill()
            return await asyncio.to_thread(store.dishes)

        csv.writer(sys.stdout).writerows([dish.name, dish.price] for dish in asyncio.run(rows()))


if __name__ == "__main__":
    main()
